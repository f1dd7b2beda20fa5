"""One request can be followed from its client through the queue into the worker, in logs, metrics and traces."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import SAMPLES, Service, start_service, stop_service

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector(ThreadingHTTPServer):
    """An OpenTelemetry collector that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: dict[tuple[str, str], str] = {}
        self.both = threading.Event()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Collector)
        content = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
                service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    server.spans[service, span.name] = span.trace_id.hex()
        if {name for service, name in server.spans} >= {"explain", "POST /v1/explanations"}:
            server.both.set()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Service]:
    """A service that writes JSON logs and sends traces."""
    running = start_service(
        tmp_path_factory.mktemp("observed") / "data",
        RISE_LOG_FORMAT="json",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
        OTEL_BSP_SCHEDULE_DELAY="200",
    )
    yield running
    stop_service(running)


@pytest.fixture(scope="module")
def explained(observed: Service) -> str:
    """The id of an explanation that was asked for under a name and a trace."""
    answer = httpx2.post(
        f"{observed.url}/v1/explanations",
        files={"image": (SAMPLES / "star.jpg").read_bytes()},
        data={"model": "shapes", "masks": "1024", "until": "1"},
        headers={
            "Prefer": "wait=60",
            "X-Request-ID": "label-tool-42",
            "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
        },
        timeout=70,
    )
    assert answer.headers["X-Request-ID"] == "label-tool-42"
    assert answer.json()["status"] == "succeeded"
    return str(answer.json()["id"])


def log_lines(service: Service) -> list[dict[str, str]]:
    log: Path = service.data.parent / f"{service.data.name}.log"
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_the_request_id_and_the_trace_stand_in_the_log_lines_of_front_end_and_worker(
    observed: Service, explained: str
) -> None:
    for _ in range(100):  # because the worker writes its line when the client has its answer already
        lines = [line for line in log_lines(observed) if line.get("request_id") == "label-tool-42"]
        if any(line["logger"] == "workers.tasks" for line in lines):
            break
        time.sleep(0.1)
    assert {"app.api.middleware.access_log", "workers.tasks"} <= {line["logger"] for line in lines}
    assert {line.get("trace_id") for line in lines} == {TRACE}
    assert any(line.get("explanation") == explained and "succeeded" in line["message"] for line in lines)


def test_the_spans_of_front_end_and_worker_belong_to_the_client_s_trace(collector: Collector, explained: str) -> None:
    assert explained
    assert collector.both.wait(20), collector.spans
    assert collector.spans["rise-serve-app", "POST /v1/explanations"] == TRACE
    assert collector.spans["rise-serve-worker", "explain"] == TRACE


def test_a_request_without_an_id_gets_one_and_a_harmful_one_is_replaced(observed: Service) -> None:
    first, second = (httpx2.get(f"{observed.url}/livez").headers["X-Request-ID"] for _ in range(2))
    assert first != second
    hostile = httpx2.get(f"{observed.url}/livez", headers={"X-Request-ID": "a" * 4000})
    assert len(hostile.headers["X-Request-ID"]) == 32


def test_metrics_count_explanations_masks_and_requests(observed: Service, explained: str) -> None:
    assert explained
    text = httpx2.get(f"{observed.url}/metrics").text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["rise_explanations_total", "rise", "shapes", "succeeded"] == 1
    assert samples["rise_masks_total", "rise", "shapes"] == 1024
    assert samples["rise_running_seconds_count", "rise", "shapes"] == 1
    assert samples["rise_requests_total", "/v1/explanations", "200", "POST"] == 1
    assert samples["rise_workers", "idle"] + samples["rise_workers", "busy"] == 1
    assert samples["rise_queue_depth", "default"] == 0
    assert samples["rise_models", "ready", "shapes"] == 1
    assert samples["rise_callbacks_waiting",] == samples["rise_callbacks_overdue_seconds",] == 0
    assert samples["rise_redis_memory_bytes", "used"] > samples["rise_redis_memory_bytes", "limit"] == 0
    assert any(name == "rise_batch_size" and value >= 1 for (name, *_), value in samples.items())
    assert any(name == "rise_device_memory_bytes" and value > 0 for (name, *_), value in samples.items())


def test_the_images_of_a_batch_can_be_followed_into_the_worker_as_well(observed: Service, explained: str) -> None:
    assert explained
    trace = TRACE[::-1]
    uploads = httpx2.post(f"{observed.url}/v1/images", files={"image": (SAMPLES / "ring.jpg").read_bytes()}).json()
    batch = httpx2.post(
        f"{observed.url}/v1/batches",
        json={"model": "shapes", "masks": 128, "until": 1, "images": [{"id": uploads["images"][0]["id"]}]},
        headers={"X-Request-ID": "night-run-7", "traceparent": f"00-{trace}-b7ad6b7169203331-01"},
    ).json()
    lines: list[dict[str, str]] = []
    for _ in range(300):
        lines = [line for line in log_lines(observed) if line.get("batch") == batch["id"]]
        if any(line["logger"] == "workers.tasks" and "succeeded" in line["message"] for line in lines):
            break
        time.sleep(0.1)
    assert lines, batch
    assert {(line["request_id"], line["trace_id"]) for line in lines} == {("night-run-7", trace)}


def test_every_line_of_the_log_is_json_also_what_the_server_says_of_nonsense(observed: Service) -> None:
    address = httpx2.URL(observed.url)
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in connection.recv(1000)
    lines = (observed.data.parent / f"{observed.data.name}.log").read_text().splitlines()
    assert [line for line in lines if not line.startswith("{")] == []
    assert any(json.loads(line)["logger"] == "uvicorn.error" for line in lines)
