"""Spans and metrics, seen through the exporters in memory of the real SDK."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, MetricsData, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from zaqar_core import NewMessage, Storage, connect
from zaqar_core.contract import new_id
from zaqar_core.errors import InvalidBody, QueueIsEmpty, StorageUnavailable
from zaqar_core.observers import register, unregister
from zaqar_opentelemetry import OpenTelemetryObserver
from zaqar_opentelemetry.observer import QUEUES_VARIABLE

DURATION = "messaging.client.operation.duration"
SENT = "messaging.client.sent.messages"
CONSUMED = "messaging.client.consumed.messages"


class Telemetry:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])

    def spans(self) -> list[ReadableSpan]:
        return [*self.exporter.get_finished_spans()]

    def metrics(self) -> MetricsData:
        data = self.reader.get_metrics_data()
        assert data is not None
        return data

    def points(self, metric: str) -> dict[str, Any]:
        """The metric's data points by their operation (and queue, if they name one)."""
        data = self.metrics()
        metrics = [one for each in data.resource_metrics for scope in each.scope_metrics for one in scope.metrics]
        found = {}
        for point in next((one.data.data_points for one in metrics if one.name == metric), []):
            attributes = dict(point.attributes or {})
            assert attributes.pop("messaging.system") == "zaqar"
            names = [attributes.pop("messaging.operation.name"), attributes.get("messaging.destination.name")]
            found[" ".join(str(name) for name in names if name)] = point
        return found


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def observer(telemetry: Telemetry) -> Iterator[OpenTelemetryObserver]:
    observer = OpenTelemetryObserver(telemetry.tracer_provider, telemetry.meter_provider)
    register(observer)
    yield observer
    unregister(observer)


@pytest.fixture
def storage(observer: OpenTelemetryObserver) -> Iterator[Storage]:
    with connect(f"memory://{new_id()}", project="acme", client_id="SECRET-client") as storage:
        yield storage


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_a_span_is_named_by_operation_and_queue_and_says_what_was_done(telemetry: Telemetry, storage: Storage) -> None:
    storage.messages.post("orders", [NewMessage(n) for n in range(3)])
    [span] = telemetry.spans()
    assert (span.name, span.kind) == ("messages.post orders", SpanKind.CLIENT)
    assert attributes(span) == {
        "messaging.system": "zaqar",
        "messaging.operation.name": "messages.post",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders",
        "messaging.batch.message_count": 3,
        "zaqar.backend": "memory",
        "zaqar.project": "acme",
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "zaqar_opentelemetry"


def test_operations_without_a_queue_or_a_number_leave_these_out(telemetry: Telemetry, storage: Storage) -> None:
    storage.queues.list()
    storage.gc()
    storage.queues.create("orders")
    assert [span.name for span in telemetry.spans()] == ["queues.list", "storage.gc", "queues.create orders"]
    for span in telemetry.spans():
        assert "messaging.batch.message_count" not in attributes(span)
        assert "messaging.operation.type" not in attributes(span)


def test_the_types_of_operations(telemetry: Telemetry, storage: Storage) -> None:
    orders = storage.queue("orders")
    orders.post(1)
    orders.post(2)
    with orders.claim() as claim:
        claim.renew()
        next(iter(claim)).delete()
    orders.pop()
    orders.list()
    types = [attributes(span).get("messaging.operation.type") for span in telemetry.spans()]
    assert types == ["send", "send", "receive", "settle", "settle", "settle", "receive", None]


def test_one_message_is_no_batch(telemetry: Telemetry, storage: Storage) -> None:
    [message_id] = storage.messages.post("orders", [NewMessage(1)])
    storage.messages.get("orders", message_id)
    storage.messages.delete("orders", message_id)
    storage.messages.bulk_delete("orders", [message_id])
    counts = [attributes(span).get("messaging.batch.message_count") for span in telemetry.spans()]
    assert counts == [1, None, None, 1]


def test_spans_nest_in_the_caller_s_and_around_the_client_s(telemetry: Telemetry, storage: Storage) -> None:
    tracer = telemetry.tracer_provider.get_tracer("test")
    assert storage.driver.messages is not None
    stats = storage.driver.messages.stats

    def instrumented(*args: Any) -> Any:
        with tracer.start_as_current_span("SELECT"):
            return stats(*args)

    storage.driver.messages.stats = instrumented  # type: ignore[method-assign, assignment]
    with tracer.start_as_current_span("work") as outer:
        storage.messages.stats("orders")
        assert trace.get_current_span() is outer
    client, operation, work = telemetry.spans()
    assert [client.name, operation.name, work.name] == ["SELECT", "messages.stats orders", "work"]
    assert client.parent is not None
    assert operation.parent is not None
    assert client.parent.span_id == operation.get_span_context().span_id  # type: ignore[union-attr]
    assert operation.parent.span_id == outer.get_span_context().span_id


def test_an_error_ends_the_span_and_is_told_by_its_class(telemetry: Telemetry, storage: Storage) -> None:
    with pytest.raises(QueueIsEmpty):
        storage.messages.first("orders")
    with pytest.raises(InvalidBody):
        storage.messages.post("orders", [NewMessage({"SECRET": object()})])
    assert trace.get_current_span() is trace.INVALID_SPAN
    for span, error in zip(telemetry.spans(), ("QueueIsEmpty", "InvalidBody"), strict=True):
        assert attributes(span)["error.type"] == error
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert span.events == ()


def test_what_the_datastore_said_is_the_status(telemetry: Telemetry, storage: Storage) -> None:
    def fail(*_: object) -> Any:
        raise StorageUnavailable("the server is away")

    storage.driver.messages.stats = fail  # type: ignore[union-attr, method-assign]
    with pytest.raises(StorageUnavailable):
        storage.messages.stats("orders")
    [span] = telemetry.spans()
    assert span.status.description == "the server is away"


def test_an_interrupt_ends_the_span_too(telemetry: Telemetry, storage: Storage) -> None:
    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    storage.driver.messages.stats = interrupt  # type: ignore[union-attr, method-assign]
    with pytest.raises(KeyboardInterrupt):
        storage.messages.stats("orders")
    [span] = telemetry.spans()
    assert attributes(span)["error.type"] == "KeyboardInterrupt"
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_messages_are_counted_when_sent_and_when_consumed(telemetry: Telemetry, storage: Storage) -> None:
    storage.messages.post("orders", [NewMessage(n) for n in range(5)])
    storage.messages.post("mail", [NewMessage(1)])
    storage.claims.create("orders", limit=2)
    storage.messages.pop("orders", 2)
    storage.messages.list("orders")
    with pytest.raises(InvalidBody):
        storage.messages.post("orders", [NewMessage({1})])
    assert {name: point.value for name, point in telemetry.points(SENT).items()} == {"messages.post": 6}
    assert {name: point.value for name, point in telemetry.points(CONSUMED).items()} == {
        "claims.create": 2,
        "messages.pop": 2,
    }
    [point] = telemetry.points(SENT).values()
    assert isinstance(point, NumberDataPoint)
    assert dict(point.attributes or {}) == {
        "messaging.system": "zaqar",
        "messaging.operation.name": "messages.post",
        "messaging.operation.type": "send",
        "zaqar.backend": "memory",
    }


def test_each_operation_s_duration_is_recorded_in_seconds(telemetry: Telemetry, storage: Storage) -> None:
    for _ in range(3):
        storage.messages.stats("orders")
    with pytest.raises(QueueIsEmpty):
        storage.messages.first("orders")
    points = telemetry.points(DURATION)
    assert {name: point.count for name, point in points.items()} == {"messages.stats": 3, "messages.first": 1}
    stats = points["messages.stats"]
    assert isinstance(stats, HistogramDataPoint)
    assert (stats.explicit_bounds[0], stats.explicit_bounds[-1]) == (0.005, 10)
    assert 0 <= stats.sum < 3
    assert (points["messages.first"].attributes or {})["error.type"] == "QueueIsEmpty"


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_metrics_name_queues_where_that_is_asked_for(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setenv(QUEUES_VARIABLE, "True" if by == "environment" else "false")
    asked = True if by == "argument" else None
    observer = OpenTelemetryObserver(telemetry.tracer_provider, telemetry.meter_provider, queue_metrics=asked)
    register(observer)
    try:
        with connect(f"memory://{new_id()}", project="acme") as storage:
            storage.queue("orders").post(1)
            storage.queue("mail").post(2)
    finally:
        unregister(observer)
    assert telemetry.points(SENT).keys() == {"messages.post orders", "messages.post mail"}
    assert {(point.attributes or {})["zaqar.project"] for point in telemetry.points(DURATION).values()} == {"acme"}


def test_nothing_secret_is_exported(telemetry: Telemetry, observer: OpenTelemetryObserver) -> None:
    with connect(f"memory://user:SECRET@{new_id()}", client_id="SECRET-client") as storage:
        message = NewMessage("SECRET", headers={"h": "SECRET"}, dedup_id="SECRET")
        [message_id] = storage.messages.post("orders", [message])
        claim = storage.claims.create("orders")
        assert claim.id is not None
        storage.messages.delete("orders", message_id, claim_id=claim.id)
        storage.queues.create("mail", {"SECRET": "SECRET"})
    exported = "".join(span.to_json() for span in telemetry.spans())
    exported += telemetry.metrics().to_json()
    for secret in ("SECRET", message_id, claim.id):
        assert secret not in exported


def test_threads_have_spans_of_their_own(telemetry: Telemetry, storage: Storage) -> None:
    tracer = telemetry.tracer_provider.get_tracer("test")

    def work(queue: str) -> tuple[str, int]:
        with tracer.start_as_current_span(f"work {queue}") as span:
            for _ in range(20):
                storage.messages.stats(queue)
            return queue, span.get_span_context().trace_id

    with ThreadPoolExecutor(4) as pool:
        traces = dict(pool.map(work, "abcd"))
    spans = [span for span in telemetry.spans() if span.name.startswith("messages.stats")]
    assert len(spans) == 80
    for span in spans:
        assert span.get_span_context().trace_id == traces[span.name[-1]]  # type: ignore[union-attr]


INSTALLED = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import zaqar_core

with zaqar_core.connect("memory://installed") as storage:
    storage.queue("orders").post("before there are providers")
    provider, exporter, reader = TracerProvider(), InMemorySpanExporter(), InMemoryMetricReader()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    storage.queue("orders").post("after")
print(*(span.name for span in exporter.get_finished_spans()))
print("messaging.client.sent.messages" in reader.get_metrics_data().to_json())
"""


def test_installed_it_works_with_the_global_providers_whenever_they_come() -> None:
    command = [sys.executable, "-W", "error", "-c", INSTALLED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("messages.post orders\nTrue\n", "")
