"""The observer. Names are those of OpenTelemetry's semantic conventions for messaging, in development as of 1.44."""

from __future__ import annotations

import os
from contextvars import Token
from importlib.metadata import version
from typing import Final

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider

from zaqar_core.errors import StorageError
from zaqar_core.observers import ObservedOperation, hookimpl

QUEUES_VARIABLE: Final = "ZAQAR_OPENTELEMETRY_QUEUE_METRICS"
"""Set to ``true``, it lets metrics name project and queue, which else only spans do."""

_SCOPE = "zaqar_opentelemetry"
# What the conventions advise, in seconds.
_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
_TYPES = {
    "messages.post": "send",
    "messages.pop": "receive",
    "claims.create": "receive",
    "claims.update": "settle",
    "claims.delete": "settle",
    "messages.delete": "settle",
    "messages.bulk_delete": "settle",
}
_BATCHES = frozenset(
    {
        "messages.post",
        "messages.pop",
        "messages.list",
        "messages.bulk_get",
        "messages.bulk_delete",
        "claims.create",
        "claims.get",
    }
)
"""What deals with any number of messages, so that the number is worth an attribute."""


class OpenTelemetryObserver:
    """A span of each operation, current while the backend works, and three metrics.

    ``tracer_provider``, ``meter_provider``: None: the global ones, whenever they are set.
    ``queue_metrics``: whether metrics name project and queue: only where there are few; None: as the environment says.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        queue_metrics: bool | None = None,
    ) -> None:
        release = version("zaqar-opentelemetry")
        if queue_metrics is None:
            queue_metrics = os.environ.get(QUEUES_VARIABLE, "").strip().lower() == "true"
        self._queue_metrics = queue_metrics
        self._running: dict[ObservedOperation, tuple[Span, Token[Context]]] = {}
        self._tracer = trace.get_tracer(_SCOPE, release, tracer_provider)
        meter = get_meter(_SCOPE, release, meter_provider)
        self._duration = meter.create_histogram(
            "messaging.client.operation.duration",
            unit="s",
            description="How long operations took.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", unit="{message}", description="How many messages were posted."
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            unit="{message}",
            description="How many messages were claimed or popped.",
        )

    @hookimpl
    def operation_started(self, operation: ObservedOperation) -> None:
        """Begin a span and make it the current one. It is of kind CLIENT: its context is not put into messages."""
        name = operation.name if operation.queue is None else f"{operation.name} {operation.queue}"
        attributes = {**_attributes(operation), **_destination(operation)}
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        self._running[operation] = span, context.attach(trace.set_span_in_context(span))

    @hookimpl
    def operation_finished(
        self, operation: ObservedOperation, count: int | None, seconds: float, error: BaseException | None
    ) -> None:
        """End the span, and count."""
        kind = {} if error is None else {"error.type": type(error).__qualname__}
        span, token = self._running.pop(operation, (None, None))
        if token is not None:
            context.detach(token)
        if span is not None:
            if count is not None and operation.name in _BATCHES:
                span.set_attribute("messaging.batch.message_count", count)
            if error is not None:
                span.set_attributes(kind)
                # An error about input may quote it; what the datastore said is worth telling, and has no secrets.
                span.set_status(StatusCode.ERROR, str(error) if isinstance(error, StorageError) else None)
            span.end()
        attributes = {**_attributes(operation), **kind}
        if self._queue_metrics:
            attributes.update(_destination(operation))
        self._duration.record(seconds, attributes)
        if count is not None and operation.name in ("messages.post", "messages.pop", "claims.create"):
            counter = self._sent if operation.name == "messages.post" else self._consumed
            counter.add(count, attributes)


def _attributes(operation: ObservedOperation) -> dict[str, str]:
    attributes = {
        "messaging.system": "zaqar",
        "messaging.operation.name": operation.name,
        "zaqar.backend": operation.scheme,
    }
    if operation.name in _TYPES:
        attributes["messaging.operation.type"] = _TYPES[operation.name]
    return attributes


def _destination(operation: ObservedOperation) -> dict[str, str]:
    attributes = {}
    if operation.queue is not None:
        attributes["messaging.destination.name"] = operation.queue
    if operation.project is not None:
        attributes["zaqar.project"] = operation.project
    return attributes
