"""Observers: what they are shown of each operation, and that nothing they do harms it."""

from __future__ import annotations

import gc
import inspect
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread, get_ident
from typing import Any

import pytest

from zaqar_conformance.bytecodes import interrupt
from zaqar_core import NewMessage, Storage, connect, observers
from zaqar_core.contract import new_id
from zaqar_core.errors import (
    ClaimDoesNotExist,
    InvalidBody,
    InvalidDuration,
    InvalidId,
    InvalidInput,
    InvalidProject,
    InvalidQueueName,
    MessageDoesNotExist,
    QueueIsEmpty,
    StorageClosed,
    StorageUnavailable,
)
from zaqar_core.observers import GROUP, Hooks, ObservedOperation, hookimpl, register, unregister

Install = Callable[..., None]


class Recorder:
    """Writes down what it sees."""

    def __init__(self) -> None:
        self.started: list[ObservedOperation] = []
        self.finished: list[tuple[ObservedOperation, int | None, float, BaseException | None]] = []
        self.threads: list[int] = []

    @hookimpl
    def operation_started(self, operation: ObservedOperation) -> None:
        self.started.append(operation)

    @hookimpl
    def operation_finished(
        self, operation: ObservedOperation, count: int | None, seconds: float, error: BaseException | None
    ) -> None:
        self.finished.append((operation, count, seconds, error))
        self.threads.append(get_ident())

    def last(self) -> tuple[str, str, str | None, str | None, int | None, type[BaseException] | None]:
        operation, count, seconds, error = self.finished[-1]
        assert seconds >= 0
        return (
            operation.name,
            operation.scheme,
            operation.project,
            operation.queue,
            count,
            None if error is None else type(error),
        )

    def names(self) -> list[str]:
        return [operation.name for operation, *_ in self.finished]


class Failing:
    """Raises the same in both hooks."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    @hookimpl
    def operation_started(self) -> None:
        raise self.error

    @hookimpl
    def operation_finished(self) -> None:
        raise self.error


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had been loaded or registered yet, and nothing were installed."""
    monkeypatch.setattr(observers, "_process", observers._Process())
    observers._process.loaded = True


@pytest.fixture
def recorder() -> Recorder:
    recorder = Recorder()
    register(recorder)
    return recorder


@pytest.fixture
def storage() -> Iterator[Storage]:
    with connect(f"memory://{new_id()}", project="acme", metadata_ttl=0) as storage:
        yield storage


@pytest.fixture
def installed(install: Install) -> Install:
    """Observers that are installed are loaded at the next connect; of other things only the driver in memory is."""
    observers._process.loaded = False
    install("a-driver", "zaqar_core.drivers", {"memory": "zaqar_conformance.reference:ReferenceDriver"})
    return install


# --- what is seen ---------------------------------------------------------------------------------


def claim_one(storage: Storage) -> str:
    claim_id = storage.claims.create("q", limit=1).id
    assert claim_id is not None
    return claim_id


def subscribe(storage: Storage) -> str:
    subscription_id = storage.subscriptions.create("q", subscriber="https://example.org/")
    assert subscription_id is not None
    return subscription_id


def subscriber(storage: Storage) -> str:
    return storage.subscriptions.get("q", subscribe(storage)).subscriber


def post_one(storage: Storage) -> str:
    return storage.messages.post("q", [NewMessage("earlier")])[0]


OPERATIONS: list[tuple[str, Callable[[Storage], object], int | None]] = [
    ("messages.post", lambda s: s.messages.post("q", (NewMessage(n) for n in range(3))), 3),
    ("messages.get", lambda s: s.messages.get("q", post_one(s)), 1),
    ("messages.bulk_get", lambda s: s.messages.bulk_get("q", [post_one(s), "absent", post_one(s)]), 2),
    ("messages.list", lambda s: s.messages.list("q", limit=2), 1),
    ("messages.first", lambda s: s.messages.first("q"), 1),
    ("messages.delete", lambda s: s.messages.delete("q", post_one(s)), 1),
    ("messages.bulk_delete", lambda s: s.messages.bulk_delete("q", iter([post_one(s), post_one(s)])), 2),
    ("messages.pop", lambda s: s.messages.pop("q", 5), 1),
    ("messages.stats", lambda s: s.messages.stats("q"), None),
    ("messages.purge", lambda s: s.messages.purge("q"), None),
    ("claims.create", lambda s: s.claims.create("q"), 1),
    ("claims.get", lambda s: s.claims.get("q", claim_one(s)), 1),
    ("claims.update", lambda s: s.claims.update("q", claim_one(s), ttl=9), None),
    ("claims.delete", lambda s: s.claims.delete("q", claim_one(s)), None),
    ("queues.create", lambda s: s.queues.create("q"), None),
    ("queues.exists", lambda s: s.queues.exists("q"), None),
    ("queues.get_metadata", lambda s: s.queues.get_metadata("q"), None),
    ("queues.set_metadata", lambda s: s.queues.set_metadata("q", {}), None),
    ("queues.update_metadata", lambda s: s.queues.update_metadata("q", {}), None),
    ("queues.delete", lambda s: s.queues.delete("q"), None),
    ("queues.list", lambda s: s.queues.list(), 1),
    ("queues.count", lambda s: s.queues.count(), None),
    ("queues.stats", lambda s: s.queues.stats("q"), None),
    ("pools.create", lambda s: s.pools.create("new", uri=f"memory://{new_id()}"), None),
    ("pools.get", lambda s: s.pools.get("pool"), None),
    ("pools.exists", lambda s: s.pools.exists("pool"), None),
    ("pools.update", lambda s: s.pools.update("pool", weight=7), None),
    ("pools.delete", lambda s: s.pools.delete("absent"), None),
    ("pools.list", lambda s: s.pools.list(), 1),
    ("pools.get_pools_by_flavor", lambda s: s.pools.get_pools_by_flavor("flavor"), 1),
    ("flavors.create", lambda s: s.flavors.create("new"), None),
    ("flavors.get", lambda s: s.flavors.get("flavor"), None),
    ("flavors.exists", lambda s: s.flavors.exists("flavor"), None),
    ("flavors.update", lambda s: s.flavors.update("flavor", pools=["pool"]), None),
    ("flavors.delete", lambda s: s.flavors.delete("flavor"), None),
    ("flavors.list", lambda s: s.flavors.list(), 1),
    ("catalogue.insert", lambda s: s.catalogue.insert("q", "pool"), None),
    ("catalogue.get", lambda s: s.catalogue.get("mapped"), None),
    ("catalogue.exists", lambda s: s.catalogue.exists("q"), None),
    ("catalogue.update", lambda s: s.catalogue.update("mapped", "pool"), None),
    ("catalogue.delete", lambda s: s.catalogue.delete("q"), None),
    ("catalogue.list", lambda s: s.catalogue.list(), 1),
    ("subscriptions.create", subscribe, None),
    ("subscriptions.get", lambda s: s.subscriptions.get("q", subscribe(s)), None),
    ("subscriptions.get_with_subscriber", lambda s: s.subscriptions.get_with_subscriber("q", subscriber(s)), None),
    ("subscriptions.exists", lambda s: s.subscriptions.exists("q", "absent"), None),
    ("subscriptions.list", lambda s: s.subscriptions.list("q"), 0),
    ("subscriptions.update", lambda s: s.subscriptions.update("q", subscribe(s), options={}), None),
    ("subscriptions.confirm", lambda s: s.subscriptions.confirm("q", subscribe(s)), None),
    ("subscriptions.delete", lambda s: s.subscriptions.delete("q", "absent"), None),
    ("storage.is_alive", lambda s: s.is_alive(), None),
    ("storage.health", lambda s: s.health(), None),
    ("storage.gc", lambda s: s.gc(), 0),
]


@pytest.mark.parametrize(("name", "call", "count"), OPERATIONS, ids=[name for name, *_ in OPERATIONS])
def test_each_operation_is_seen_once_with_what_it_dealt_with(
    storage: Storage, recorder: Recorder, name: str, call: Callable[[Storage], object], count: int | None
) -> None:
    post_one(storage)
    storage.pools.create("pool", uri=f"memory://{new_id()}")
    storage.flavors.create("flavor", pools=["pool"])
    storage.catalogue.insert("mapped", "pool")
    recorder.finished.clear()
    call(storage)
    of_a_project = name.partition(".")[0] not in ("pools", "flavors", "storage")
    of_a_queue = of_a_project and name not in ("queues.list", "queues.count", "catalogue.list")
    queue = ("mapped" if name in ("catalogue.get", "catalogue.update") else "q") if of_a_queue else None
    assert recorder.last() == (name, "memory", "acme" if of_a_project else None, queue, count, None)
    assert recorder.names().count(name) == 1


def test_every_public_method_is_an_operation(storage: Storage) -> None:
    names = {
        f"{controller}.{method}"
        for controller in ("messages", "claims", "subscriptions", "queues", "pools", "flavors", "catalogue")
        for method, _ in inspect.getmembers(type(getattr(storage, controller)), inspect.isfunction)
        if not method.startswith("_")
    }
    inside = {
        "pools.leave",
        "pools.members",
        "pools.move",
        "pools.capabilities_by_flavor",
        "subscriptions.drop",
    }  # which other controllers call
    assert names - inside == {name for name, *_ in OPERATIONS if not name.startswith("storage.")}


def test_both_hooks_get_the_same_object_which_no_other_operation_has(storage: Storage, recorder: Recorder) -> None:
    for _ in range(2):
        storage.messages.stats("q")
    assert recorder.started == [operation for operation, *_ in recorder.finished]
    assert len(set(recorder.started)) == 2


@pytest.mark.parametrize("queue", ["as an argument", "as a keyword"])
def test_the_queue_and_project_of_the_call_are_seen(storage: Storage, recorder: Recorder, queue: str) -> None:
    if queue == "as an argument":
        storage.messages.stats("ä/b", project="other")
    else:
        storage.messages.stats(queue="ä/b", project="other")
    assert recorder.last() == ("messages.stats", "memory", "other", "ä/b", None, None)


def test_queues_and_other_records_are_of_the_control_plane_s_scheme(recorder: Recorder, install: Install) -> None:
    reference = "zaqar_conformance.reference:ReferenceDriver"
    install("two-drivers", "zaqar_core.drivers", {"data": reference, "control": reference})
    with connect(f"data://{new_id()}", control=f"control://{new_id()}") as storage:
        for call, scheme in (
            (lambda: storage.messages.stats("q"), "data"),
            (lambda: storage.claims.create("q"), "data"),
            (lambda: storage.subscriptions.exists("q", "id"), "data"),
            (storage.gc, "data"),
            (lambda: storage.queues.exists("q"), "control"),
            (lambda: storage.catalogue.exists("q"), "control"),
            (lambda: storage.pools.exists("p"), "control"),
            (lambda: storage.flavors.exists("f"), "control"),
        ):
            try:
                call()
            finally:
                assert recorder.finished[-1][0].scheme == scheme


def test_what_an_operation_calls_itself_is_part_of_it(storage: Storage, recorder: Recorder) -> None:
    storage.pools.create("pool", uri=f"memory://{new_id()}")
    storage.flavors.create("flavor", pools=["pool"])
    storage.flavors.delete("flavor")
    message_id = post_one(storage)
    storage.messages.get("q", message_id)
    storage.messages.bulk_delete("q", [message_id])
    storage.queues.delete("q")
    assert recorder.names() == [
        "pools.create",
        "flavors.create",
        "flavors.delete",
        "messages.post",
        "messages.get",
        "messages.bulk_delete",
        "queues.delete",
    ]


def test_the_handle_s_operations_are_seen_as_those_they_are(storage: Storage, recorder: Recorder) -> None:
    orders = storage.queue("orders")
    orders.post({"n": 1})
    orders.post({"n": 2})
    with orders.claim() as claim:
        next(iter(claim)).delete()
        claim.renew()
    assert recorder.names() == [
        "messages.post",
        "messages.post",
        "claims.create",
        "messages.delete",
        "claims.update",
        "claims.delete",
    ]
    assert {operation.queue for operation in recorder.started} == {"orders"}


def test_a_claim_that_waits_is_seen_as_often_as_it_asks(storage: Storage, recorder: Recorder) -> None:
    assert not storage.queue("orders").claim(wait=0.1)
    assert len(recorder.names()) >= 2
    assert set(recorder.names()) == {"claims.create"}
    assert {count for _, count, _, _ in recorder.finished} == {0}


def test_refused_messages_are_not_counted_as_deleted(storage: Storage, recorder: Recorder) -> None:
    ids = storage.messages.post("q", [NewMessage(n) for n in range(3)])
    claim_one(storage)
    assert storage.messages.bulk_delete("q", ids) == ids[:1]
    assert recorder.last()[4] == 2


ERRORS: list[tuple[str, Callable[[Storage], object], type[Exception], str | None]] = [
    ("messages.first", lambda s: s.messages.first("q"), QueueIsEmpty, "q"),
    ("messages.get", lambda s: s.messages.get("q", "absent"), MessageDoesNotExist, "q"),
    ("messages.post", lambda s: s.messages.post("q", [NewMessage({1})]), InvalidBody, "q"),
    ("messages.stats", lambda s: s.messages.stats(""), InvalidQueueName, None),
    ("messages.stats", lambda s: s.messages.stats(5), InvalidQueueName, None),  # type: ignore[arg-type]
    ("messages.stats", lambda s: s.messages.stats([]), InvalidQueueName, None),  # type: ignore[arg-type]
    ("messages.stats", lambda s: s.messages.stats("SECRET" * 1000), InvalidQueueName, None),
    ("messages.stats", lambda s: s.messages.stats(), TypeError, None),  # type: ignore[call-arg]
    ("messages.bulk_delete", lambda s: s.messages.bulk_delete("q", ["a", 5]), InvalidId, "q"),  # type: ignore[list-item]
    ("claims.update", lambda s: s.claims.update("q", "absent"), ClaimDoesNotExist, "q"),
    ("claims.create", lambda s: s.claims.create("q", ttl=-1), InvalidDuration, "q"),
]


@pytest.mark.parametrize(("name", "call", "error", "queue"), ERRORS, ids=map(str, range(len(ERRORS))))
def test_an_error_is_seen_as_the_caller_gets_it(
    storage: Storage,
    recorder: Recorder,
    name: str,
    call: Callable[[Storage], object],
    error: type[Exception],
    queue: str | None,
) -> None:
    with pytest.raises(error) as raised:
        call(storage)
    assert recorder.last() == (name, "memory", "acme", queue, None, error)
    assert recorder.finished[-1][3] is raised.value


def test_a_project_that_is_none_is_not_shown(storage: Storage, recorder: Recorder) -> None:
    with pytest.raises(InvalidProject):
        storage.messages.stats("q", project="SECRET" * 1000)
    assert recorder.last()[2:4] == (None, "q")


def test_what_is_called_after_close_is_seen_too(storage: Storage, recorder: Recorder) -> None:
    storage.close()
    for call in (storage.gc, storage.health, storage.is_alive, lambda: storage.messages.stats("q")):
        with pytest.raises(StorageClosed):
            call()
    assert [type(error) for *_, error in recorder.finished] == [StorageClosed] * 4


def test_no_body_header_client_or_uri_is_shown(recorder: Recorder) -> None:
    with connect(f"memory://user:SECRET@{new_id()}", client_id="SECRET-client") as storage:
        storage.messages.post("q", [NewMessage("SECRET", headers={"h": "SECRET"}, dedup_id="SECRET")])
        storage.messages.delete("q", "SECRET-id")
        storage.messages.list("q", client_id="SECRET-other")
        storage.pools.create("pool", uri=f"memory://user:SECRET@{new_id()}")
        storage.queues.create("other", {"SECRET": "SECRET"})
    assert len(recorder.finished) == 5
    assert "SECRET" not in repr((recorder.started, recorder.finished))
    fields = {name for operation in recorder.started for name in type(operation).__slots__}
    assert fields == {"name", "scheme", "project", "queue"}


def test_threads_see_their_own_operations(storage: Storage, recorder: Recorder) -> None:
    start = Barrier(4)

    def work(queue: str) -> int:
        start.wait()
        for n in range(50):
            storage.messages.post(queue, [NewMessage(n)])
        return get_ident()

    with ThreadPoolExecutor(4) as pool:
        threads = dict(zip("abcd", pool.map(work, "abcd"), strict=True))
    seen = [
        (operation.queue, thread) for (operation, *_), thread in zip(recorder.finished, recorder.threads, strict=True)
    ]
    assert sorted(seen) == sorted((queue, threads[queue]) for queue in threads for _ in range(50))


# --- what observers cannot do ---------------------------------------------------------------------


def test_an_observer_that_raises_is_named_and_stops_nothing(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    before, failing, after = Recorder(), Failing(RuntimeError("broken on purpose")), Recorder()
    for each in (before, failing, after):
        register(each)
    ids = storage.messages.post("q", [NewMessage(1)])
    assert [message.body for message in storage.messages.bulk_get("q", ids)] == [1]
    assert before.names() == after.names() == ["messages.post", "messages.bulk_get"]
    assert before.started == after.started
    [record] = caplog.records
    assert (record.name, record.levelno) == ("zaqar_core.observers", logging.ERROR)
    assert "observer Failing failed in operation_started" in record.message
    assert record.exc_info is not None
    assert record.exc_info[1] is failing.error


def test_an_observer_s_failures_are_told_again_with_their_number_after_a_while(
    storage: Storage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(Failing(RuntimeError("a")), "first")
    register(Failing(RuntimeError("b")), "second")
    for _ in range(3):
        storage.messages.stats("q")
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == ["first", "second"]
    for observer in observers._process.observers():
        monkeypatch.setattr(observer, "_silent_until", 0.0)
    storage.messages.stats("q")
    assert [record.message.partition(" time(s)")[0][-1:] for record in caplog.records] == ["1", "1", "6", "6"]


def test_the_error_of_the_operation_stays_what_it_was(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object, **__: object) -> Any:
        try:
            raise ConnectionError("reset")
        except ConnectionError as cause:
            raise StorageUnavailable("SECRET is away") from cause

    storage.driver.messages.stats = fail  # type: ignore[union-attr, method-assign]
    register(Failing(RuntimeError("broken on purpose")))
    with pytest.raises(StorageUnavailable) as raised:
        storage.messages.stats("q")
    assert type(raised.value.__cause__) is ConnectionError
    assert raised.value.__context__ is raised.value.__cause__
    assert [entry.name for entry in raised.traceback][-1] == "fail"
    assert "SECRET" not in caplog.text


def test_an_interrupt_passes_whoever_raises_it(storage: Storage, recorder: Recorder) -> None:
    def interrupt(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    failing = Failing(KeyboardInterrupt())
    register(failing)
    with pytest.raises(KeyboardInterrupt):
        storage.messages.stats("q")
    unregister(failing)
    storage.driver.messages.stats = interrupt  # type: ignore[union-attr, method-assign]
    with pytest.raises(KeyboardInterrupt):
        storage.messages.stats("q")
    assert recorder.last()[5] is KeyboardInterrupt
    storage.messages.list("q")
    assert recorder.names()[-1] == "messages.list"


def test_an_observer_that_uses_a_storage_itself_does_not_see_that(storage: Storage) -> None:
    class Audit(Recorder):
        @hookimpl
        def operation_finished(
            self, operation: ObservedOperation, count: int | None, seconds: float, error: BaseException | None
        ) -> None:
            storage.messages.post("audit", [NewMessage(operation.name)])
            super().operation_finished(operation, count, seconds, error)

    audit = Audit()
    register(audit)
    storage.queues.create("q")
    storage.messages.stats("q")
    assert audit.names() == ["queues.create", "messages.stats"]
    assert [message.body for message in storage.messages.list("audit").items] == audit.names()[:2]


def test_a_count_that_a_driver_s_answer_does_not_give_harms_nothing(storage: Storage, recorder: Recorder) -> None:
    storage.driver.messages.post = lambda *_, **__: None  # type: ignore[union-attr, method-assign]
    answer: object = storage.messages.post("q", [NewMessage(1)])
    assert answer is None
    assert recorder.last()[4:] == (None, None)


# --- registered and installed ---------------------------------------------------------------------


def test_an_observer_is_registered_for_open_storages_too_and_taken_away_again(storage: Storage) -> None:
    recorder = Recorder()
    storage.messages.stats("q")
    register(recorder)
    storage.messages.stats("q")
    unregister(recorder)
    unregister(recorder)
    storage.messages.stats("q")
    assert recorder.names() == ["messages.stats"]


class Misspelt:
    @hookimpl
    def operation_ended(self, operation: ObservedOperation) -> None: ...


class Greedy:
    @hookimpl
    def operation_finished(self, operation: ObservedOperation, body: bytes) -> None: ...


class Unmarked:
    def operation_finished(self, operation: ObservedOperation) -> None: ...


@pytest.mark.parametrize(
    ("observer", "said"),
    [
        (Misspelt(), "operation_ended"),
        (Greedy(), "body"),
        (Unmarked(), "hookimpl"),
        (None, "hookimpl"),
        ("otel", "hookimpl"),
    ],
    ids=["unknown hook", "unknown argument", "no hook", "None", "a name"],
)
def test_what_is_no_observer_is_wrong_input(observer: object, said: str) -> None:
    with pytest.raises(InvalidInput, match="is not an observer") as raised:
        register(observer)
    assert said in str(raised.value)
    assert observers._process.observers() == ()


def test_the_hooks_say_what_there_is_to_implement() -> None:
    assert [name for name in vars(Hooks) if not name.startswith("_")] == ["operation_started", "operation_finished"]


LOGGING = """
from zaqar_core.observers import hookimpl

seen = []

class Observer:
    made = 0

    def __init__(self, name="class"):
        self.name = name
        Observer.made += 1

    @hookimpl
    def operation_started(self, operation):
        seen.append((self.name, "started"))

    @hookimpl
    def operation_finished(self, operation, count):
        seen.append((self.name, count))

ready = Observer("ready")

@hookimpl
def operation_finished(operation, count):
    seen.append(("module", count))
"""


def test_installed_observers_are_loaded_once_in_the_order_of_their_names(installed: Install) -> None:
    entries = {"c": "observer_module", "a": "observer_module:ready", "b": "observer_module:Observer"}
    installed("an-observer", GROUP, entries, observer_module=LOGGING)
    for _ in range(2):
        connect(f"memory://{new_id()}").close()
    with connect(f"memory://{new_id()}") as storage:
        storage.queue("q").post(1)
    module = sys.modules["observer_module"]
    assert module.Observer.made == 2
    assert module.seen == [
        ("ready", "started"),
        ("class", "started"),
        ("module", 1),
        ("class", 1),
        ("ready", 1),
    ]


def test_threads_that_connect_first_load_them_once_and_wait_for_them(installed: Install) -> None:
    installed(
        "an-observer",
        GROUP,
        {"a": "observer_module:Observer"},
        observer_module=f"import time\ntime.sleep(0.1)\n{LOGGING}",
    )
    start = Barrier(4)

    def work(n: int) -> None:
        start.wait()
        with connect(f"memory://{new_id()}") as storage:
            storage.queue("q").post(n)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    module = sys.modules["observer_module"]
    assert module.Observer.made == 2  # the other is the module's own
    assert module.seen.count(("class", 1)) == 4


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("no_such_module_anywhere:Observer", ModuleNotFoundError),
        ("observer_module:Missing", AttributeError),
        ("observer_module:Broken", RuntimeError),
        ("observer_module:nothing", TypeError),
        ("observer_module:Misspelt", Exception),
    ],
)
def test_an_observer_that_cannot_be_loaded_is_named_once_and_stops_no_other(
    installed: Install, caplog: pytest.LogCaptureFixture, value: str, cause: type[Exception]
) -> None:
    broken = """
nothing = None

class Broken:
    def __init__(self):
        raise RuntimeError("broken on purpose")

class Misspelt:
    @hookimpl
    def operation_ended(self, operation): ...
"""
    entries = {"aa": value, "fine": "observer_module:Observer"}
    installed("an-observer", GROUP, entries, observer_module=f"{LOGGING}{broken}")
    for _ in range(2):
        with connect(f"memory://{new_id()}") as storage:
            storage.queue("q").post(1)
    assert sys.modules["observer_module"].seen.count(("class", 1)) == 2
    [record] = caplog.records
    assert (record.name, record.levelno) == ("zaqar_core.observers", logging.ERROR)
    assert f"the observer aa (an-observer) is installed, but {value} cannot be loaded" in record.message
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], cause)


def test_an_observer_that_connects_while_it_is_loaded_is_loaded_all_the_same(installed: Install) -> None:
    connecting = "import zaqar_core\nstorage = zaqar_core.connect('memory://of-an-observer')\n"
    installed("an-observer", GROUP, {"a": "observer_module:Observer"}, observer_module=connecting + LOGGING)
    with connect(f"memory://{new_id()}") as storage:
        storage.queue("q").post(1)
    assert sys.modules["observer_module"].seen == [("class", "started"), ("class", 1)]


@pytest.fixture
def no_collection() -> Iterator[None]:
    """What others do when garbage is collected would be interrupted, too."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
def test_an_exception_at_any_bytecode_leaves_no_thread_unobserved(storage: Storage, recorder: Recorder) -> None:
    """Raised by a signal handler, say: the next operation is seen, and does not count as a part of that one."""
    at = 1
    while interrupt(storage.is_alive, at):
        recorder.finished.clear()
        assert storage.is_alive()
        assert recorder.names() == ["storage.is_alive"], at
        at += 1
    assert at > 100


@pytest.mark.usefixtures("no_collection")
def test_an_exception_at_any_bytecode_of_loading_lets_the_next_connect_load(monkeypatch: pytest.MonkeyPatch) -> None:
    one = observers._Observer(Recorder(), "one")
    monkeypatch.setattr(observers, "_load_installed", lambda: (one,))  # the rest is importlib's, and takes minutes
    at, interrupted = 1, True
    while interrupted:
        observers._process.loaded, observers._process.installed = False, ()
        interrupted = interrupt(observers.load, at)
        observers.load()
        assert observers._process.observers() == (one,), at
        at += 1
    assert at > 50


def test_connect_does_not_outlast_its_timeout_while_another_thread_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers._process, "installed", ())
    monkeypatch.setattr(observers._process, "loaded", False)
    over, begun = Event(), Event()

    def slow() -> tuple[()]:
        begun.set()
        over.wait(60)
        return ()

    monkeypatch.setattr(observers, "_load_installed", slow)
    loading = Thread(target=observers.load)
    loading.start()
    try:
        assert begun.wait(60)
        began = time.monotonic()
        connect("memory://while-loading", connect_timeout=1).close()
        assert time.monotonic() - began < 1
    finally:
        over.set()
        loading.join()


FORKED = """
import os, threading, time, warnings
from zaqar_core import connect, observers

warnings.simplefilter("ignore")
held, done = threading.Event(), threading.Event()

def hold():
    slot = observers._process.loading.take(time.monotonic() + 60)
    held.set()
    done.wait()
    slot.give_back()

if __name__ == "__main__":
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if not child:
        connect("memory://in-a-child").close()
        os._exit(7)
    _, status = os.waitpid(child, 0)
    done.set()
    assert os.waitstatus_to_exitcode(status) == 7, status
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
def test_a_child_does_not_wait_for_a_thread_of_its_parent_that_was_loading() -> None:
    subprocess.run([sys.executable, "-c", FORKED], timeout=60, check=True)
