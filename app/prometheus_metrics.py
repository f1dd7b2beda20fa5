"""The service as Prometheus sees it: counts kept in Redis, queues and workers as they are now.

Any front end shows the whole service, because what workers do is counted in Redis; only the requests are its own.
Scrape every front end for requests, and take the rest from any one of them (`max by`).
"""

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app.contract.counters import (
    ENDED,
    LOST_ATTEMPTS,
    MASKS,
    MEMORY_RETRIES,
    QUEUED_SECONDS,
    RUNNING_SECONDS,
    CounterSample,
)
from app.explanations.catalogue import Catalogue
from app.services import Services

_COUNTERS = {
    ENDED: ("Explanations that have ended.", ["status", "model", "method"]),
    MASKS: ("Masked images that models were asked about.", ["model", "method"]),
    MEMORY_RETRIES: ("Batches halved because memory ran out.", ["model"]),
    LOST_ATTEMPTS: ("Attempts at jobs that took their worker with them.", ["model", "reason"]),
}
_HISTOGRAMS = {
    QUEUED_SECONDS: ("Seconds that explanations waited.", ["model"]),
    RUNNING_SECONDS: ("Seconds that explanations ran.", ["model", "method"]),
}


class ServiceCollector(Collector):
    """Collects when it is asked."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        """Return all metrics of the service."""
        counted = self._services.statistics.read()
        catalogue = self._services.catalogue.now()
        return [
            *_counters(counted),
            *_histograms(counted),
            *_workers(catalogue),
            _models(catalogue),
            *_queues(self._services, catalogue),
            *_callbacks(self._services),
            _server(self._services),
        ]


def _counters(counted: list[CounterSample]) -> list[Metric]:
    families: list[Metric] = []
    for name, (words, labels) in _COUNTERS.items():
        family = CounterMetricFamily(f"rise_{name}", words, labels=labels)
        for one in counted:
            if one.metric == name:
                family.add_metric(one.labels, one.value)
        families.append(family)
    return families


def _histograms(counted: list[CounterSample]) -> list[Metric]:
    families: list[Metric] = []
    for name, (words, labels) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(f"rise_{name}", words, labels=labels)
        buckets: dict[tuple[str, ...], list[tuple[str, float]]] = defaultdict(list)
        for one in counted:
            if one.metric == f"{name}_bucket":
                buckets[one.labels[:-1]].append((one.labels[-1], one.value))
        sums = {one.labels: one.value for one in counted if one.metric == f"{name}_sum"}
        for place, found in buckets.items():
            family.add_metric(place, sorted(found, key=lambda bucket: float(bucket[0])), sums.get(place, 0.0))
        families.append(family)
    return families


def _workers(catalogue: Catalogue) -> list[Metric]:
    states = GaugeMetricFamily("rise_workers", "Live workers.", labels=["state"])
    batches = GaugeMetricFamily("rise_batch_size", "Masked images per forward pass.", labels=["worker", "model"])
    memory = GaugeMetricFamily(
        "rise_device_memory_bytes", "Memory of a worker's device.", labels=["worker", "device", "kind"]
    )
    for state in ("idle", "busy"):
        states.add_metric([state], sum(worker.state == state for worker in catalogue.announcements))
    for worker in catalogue.announcements:
        for card in worker.models:
            if card.batch is not None:
                batches.add_metric([worker.worker, card.id], card.batch)
        for kind, size in worker.memory_bytes.items():
            memory.add_metric([worker.worker, worker.device, kind], size)
    return [states, batches, memory]


def _models(catalogue: Catalogue) -> Metric:
    states = GaugeMetricFamily("rise_models", "Models that live workers name.", labels=["model", "state"])
    for card in catalogue.models:
        states.add_metric([card.id, card.state], 1)
    return states


def _queues(services: Services, catalogue: Catalogue) -> list[Metric]:
    depth = GaugeMetricFamily("rise_queue_depth", "Jobs that wait.", labels=["queue"])
    running = GaugeMetricFamily("rise_queue_running", "Jobs that run.", labels=["queue"])
    age = GaugeMetricFamily("rise_queue_age_seconds", "Seconds that the oldest job has waited.", labels=["queue"])
    for queue in sorted({worker.queue for worker in catalogue.announcements} | {services.settings.queue}):
        found = services.jobs.load(queue)
        depth.add_metric([queue], found.waiting)
        running.add_metric([queue], found.running)
        age.add_metric([queue], found.oldest_seconds)
    return [depth, running, age]


def _callbacks(services: Services) -> list[Metric]:
    waiting, overdue = services.webhook_subscriptions.waiting()
    return [
        GaugeMetricFamily("rise_callbacks_waiting", "Callbacks that are due or will be tried again.", waiting),
        GaugeMetricFamily("rise_callbacks_overdue_seconds", "Seconds that the first due callback has waited.", overdue),
    ]


def _server(services: Services) -> Metric:
    memory = GaugeMetricFamily("rise_redis_memory_bytes", "Memory of the Redis server; limit 0: none.", labels=["kind"])
    for kind, size in services.statistics.server_memory().items():
        memory.add_metric([kind], size)
    return memory
