"""Dashboard, alarms and autoscaling ask for metrics that there are."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import SAMPLES, Service
from tests.deployment.files import DOCKER, alerts, dashboard, manifests
from tests.deployment.queries import Asked, asked_for

OF_PROMETHEUS = {"up": {"job", "instance"}}
TARGET_LABELS = {"job", "instance"}
PROMTOOL = shutil.which("promtool")


def queries() -> dict[str, str]:
    """Return every PromQL expression by where it stands."""
    found = {f"alarm {one['alert']}": one["expr"] for one in alerts()}
    for panel in dashboard()["panels"]:
        found |= {f"panel {panel['title']} {one['refId']}": one["expr"] for one in panel["targets"]}
    for path, one in manifests():
        for trigger in one["spec"].get("triggers", []):
            if trigger["type"] == "prometheus":
                found[path] = trigger["metadata"]["query"]
    return found


QUERIES = queries()


@pytest.fixture(scope="module")
def exposed(service: Service) -> dict[str, set[str]]:
    """The names of all samples that /metrics shows, with their labels, once something has been explained."""
    httpx2.post(
        f"{service.url}/v1/explanations",
        files={"image": (SAMPLES / "star.jpg").read_bytes()},
        data={"model": "shapes", "masks": "256"},
        headers={"Prefer": "wait=60"},
        timeout=70,
    ).raise_for_status()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(httpx2.get(f"{service.url}/metrics").text):
        ending = "_total" if family.type == "counter" else ""
        found.setdefault(family.name + ending, set())  # because a counter of what has not happened has no samples
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def missing(asked: list[Asked], there: dict[str, set[str]]) -> list[str]:
    """Return what is asked for and is not there; the labels of a metric that has no samples are not known."""
    complaints = [one.metric for one in asked if one.metric not in there]
    labels = [(one, there[one.metric]) for one in asked if there.get(one.metric)]
    return complaints + [f"{one.metric}: {one.labels - known}" for one, known in labels if one.labels - known]


@pytest.mark.parametrize("place", list(QUERIES))
def test_what_is_asked_for_is_exposed(place: str, exposed: dict[str, set[str]]) -> None:
    there = {name: labels and labels | TARGET_LABELS for name, labels in exposed.items()} | OF_PROMETHEUS
    assert missing(asked_for(QUERIES[place]), there) == []


def test_a_metric_and_a_label_that_are_not_there_are_found(exposed: dict[str, set[str]]) -> None:
    assert missing(asked_for("sum(rise_workerz)"), exposed) == ["rise_workerz"]
    assert missing(asked_for('max by (stat) (rise_workers{state="idle"})'), exposed) == [
        "rise_workers: frozenset({'stat'})"
    ]


@pytest.mark.parametrize("wrong", ["sum(", "rate(rise_masks_total)", "rise_workers > > 1", "max by rise_workers"])
def test_what_is_no_promql_is_found(wrong: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        asked_for(wrong)


def test_every_metric_of_the_service_is_looked_at_somewhere(exposed: dict[str, set[str]]) -> None:
    looked_at = {one.metric for query in QUERIES.values() for one in asked_for(query)}
    ours = {name for name in exposed if name.startswith("rise_")}
    endings = ("_created", "_count", "_sum")  # the other half of histograms
    assert {name for name in ours if not name.endswith(endings)} - looked_at - histograms(ours) == set()


def histograms(names: set[str]) -> set[str]:
    return {name.removesuffix("_bucket") for name in names if name.endswith("_bucket")}


def test_autoscaling_counts_what_waits_and_what_runs() -> None:
    asked = {one.metric for one in asked_for(QUERIES["keda/worker.yaml"])}
    assert asked == {"rise_queue_depth", "rise_queue_running"}


def test_every_alarm_says_how_bad_it_is_what_it_means_and_where_to_read_on() -> None:
    for one in alerts():
        assert one["labels"]["severity"] in {"page", "ticket"}
        assert len(one["annotations"]["summary"]) > 20
        assert one["annotations"]["runbook"] == f"docker/OPERATING.md#{one['alert'].lower()}"
    assert len({one["alert"] for one in alerts()}) == len(alerts())


def wrong_with(board: dict[str, Any]) -> list[str]:
    """Return what Grafana would stumble over in a dashboard."""
    panels = board["panels"]
    found = [f"{name} is missing" for name in ("uid", "title", "schemaVersion", "templating") if name not in board]
    if len({panel["id"] for panel in panels}) < len(panels):
        found.append("ids are not unique")
    for place, panel in enumerate(panels):
        grid = panel["gridPos"]
        if grid["x"] + grid["w"] > 24:
            found.append(f"{panel['title']} is too wide")
        if any(overlap(grid, other["gridPos"]) for other in panels[:place]):
            found.append(f"{panel['title']} lies on another")
        if any(part["datasource"]["uid"] != "${datasource}" for part in (panel, *panel["targets"])):
            found.append(f"{panel['title']} has a data source of its own")
    return found


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_the_dashboard_can_be_shown() -> None:
    assert wrong_with(dashboard()) == []


def test_a_broken_dashboard_is_found() -> None:
    broken = json.loads(json.dumps(dashboard()))
    broken["panels"][1]["gridPos"] = broken["panels"][0]["gridPos"]
    broken["panels"][1]["id"] = 1
    broken["panels"][2]["datasource"]["uid"] = "prometheus"
    broken["panels"][3]["gridPos"]["w"] = 20
    del broken["uid"]
    assert len(wrong_with(broken)) >= 5


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)")
def test_every_alarm_fires_on_what_it_is_for_and_none_in_an_ordinary_hour() -> None:
    assert PROMTOOL
    cases = Path(__file__).with_name("alerts_test.yml")
    for command in (["check", "config", str(DOCKER / "prometheus/prometheus.yml")], ["test", "rules", str(cases)]):
        found = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
    assert all(one["alert"] in cases.read_text() for one in alerts())
