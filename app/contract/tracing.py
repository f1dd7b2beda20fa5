"""OpenTelemetry traces over front end and worker, if an endpoint is configured.

The trace of a request travels with its explanation as the W3C headers `traceparent` and `tracestate`; without an
endpoint nothing is recorded, but a client's own trace id still reaches the worker's log lines.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace

from app.contract.log_context import current_log_context

logger = logging.getLogger(__name__)


def configure_tracing(service: str) -> None:
    """Send this process's spans to `OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set (extra `traces`)."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") and not os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError:
        logger.warning("traces are not sent: pip install 'rise-serve[traces]'")
        return
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def inject_trace_headers() -> dict[str, str]:
    """Return the headers of the current trace; empty if there is none."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def request_context() -> dict[str, str]:
    """Return what is sent with work through queues: the fields of its log lines, and its trace."""
    return {**current_log_context(), **inject_trace_headers()}


@contextmanager
def span(name: str, carrier: Mapping[str, str], **attributes: str) -> Iterator[None]:
    """Run inside a span that continues the trace in a carrier."""
    tracer = trace.get_tracer("rise-serve")
    with tracer.start_as_current_span(name, context=propagate.extract(carrier), attributes=attributes):
        yield


def trace_id(carrier: Mapping[str, str]) -> str | None:
    """Return the id of the trace in a carrier, 32 hexadecimal digits."""
    context = trace.get_current_span(propagate.extract(carrier)).get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
