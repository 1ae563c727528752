"""Failure: a datastore that is not there, or serves nobody; a client that is closed; options that are wrong."""

from __future__ import annotations

import dataclasses
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from zaqar_conformance.check import Violation, check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._calls import (
    CACHED,
    Call,
    all_end_in_time,
    calls_of_a_client_each,
    claim_calls,
    hasty,
    longest,
    message_calls,
    queue_calls,
    storage_calls,
)
from zaqar_conformance.env import Env
from zaqar_core import Capability, NewMessage, Storage
from zaqar_core.contract import Driver
from zaqar_core.errors import InvalidOption, StorageClosed, StorageError, StorageUnavailable, ZaqarError
from zaqar_core.uri import Uri

_CONNECT_TIMEOUT = 1.0
_SLACK = 1.5
"""Seconds that connecting may take beyond its time-out: for a machine that is busy."""


@check("FAI-001")
def unreachable_backend_is_unavailable(env: Env) -> None:
    """Connecting where no datastore is raises ``StorageUnavailable`` in time, its cause chained, and leaves nothing."""
    uri = env.target.unreachable_uri()
    for _ in range(2):
        began = time.monotonic()
        what = "connect to a datastore that is not there"
        call = partial(env.connect, uri=uri, connect_timeout=_CONNECT_TIMEOUT)
        raised = ensure_raises(StorageUnavailable, "FAI-001", what, call)
        took = time.monotonic() - began
        ensure(
            took <= _CONNECT_TIMEOUT + _SLACK,
            "FAI-001",
            f"{what}, connect_timeout={_CONNECT_TIMEOUT}: it raised after {took:.1f} s",
        )
        ensure(raised.__cause__ is not None, "FAI-001", f"{what}: the error has no cause chained: {raised!r}")
        ensure(str(raised), "FAI-001", f"{what}: the error has no text: {raised!r}")


@check("FAI-001")
def unreachable_backend_harms_no_other_connection(env: Env) -> None:
    """A connection that fails leaves those that are open, to a datastore that is there, as they were."""
    queue, uri = env.queue(), env.target.unreachable_uri()
    env.storage.messages.post(queue, [NewMessage(1)])
    call = partial(env.connect, uri=uri, connect_timeout=_CONNECT_TIMEOUT)
    ensure_raises(StorageUnavailable, "FAI-001", "connect to a datastore that is not there", call)
    ensure_equal(env.storage.is_alive(), True, "FAI-001", "is_alive of an open connection beside one that failed")
    env.see(
        lambda: env.connect().messages.stats(queue).total,
        lambda total: total == 1,
        "FAI-001",
        "messages seen by a connection opened after one that failed, expected 1",
    )


@check("FAI-002", destructive=True, thorough=True)
def blocked_datastore_ends_every_method_in_time(env: Env) -> None:
    """While the datastore serves nobody every method ends in time: with ``StorageUnavailable``, or the answer."""
    calls = calls_of_a_client_each(env)
    with env.target.blocked(env.uri):
        _all_end_in_time(env, calls)
    env.wait_for(
        env.storage.is_alive,
        bool,
        "FAI-002",
        "is_alive once the datastore serves again, expected True",
    )


@check("FAI-002", destructive=True, thorough=True, waits=True)
def blocked_datastore_refuses_writes(env: Env) -> None:
    """A post to a datastore that serves nobody raises ``StorageUnavailable``, each time, and works afterwards."""
    queue, client = env.queue(), env.connect(timeout=hasty(env), metadata_ttl=CACHED)
    for _ in range(2):
        client.messages.post(queue, [NewMessage("before")])
    with env.target.blocked(env.uri):
        for attempt in (1, 2):
            call = partial(client.messages.post, queue, [NewMessage("meanwhile")])
            ensure_raises(
                StorageUnavailable,
                "FAI-002",
                f"post {attempt} to a datastore that serves nobody, if the target pauses all of its processes",
                partial(_in_time, env, call),
            )
    env.wait_for(
        lambda: _post_again(client, queue),
        bool,
        "FAI-002",
        "a post by the same client once the datastore serves again, expected to succeed",
    )
    env.see(
        lambda: {message.body for message in client.messages.list(queue).items},
        lambda seen: {"before", "after"} <= seen,
        "FAI-002",
        "messages once the datastore serves again, expected 'before' and 'after' among them",
    )


@check("FAI-002", destructive=True)
def killed_datastore_ends_every_method_in_time(env: Env) -> None:
    """When the datastore is gone every method raises ``StorageUnavailable`` in time; once it is back they go on."""
    if env.target.embedded:
        env.note("an embedded backend has no server that could be gone")
        return
    calls = calls_of_a_client_each(env)
    env.target.kill()
    _all_end_in_time(env, calls)
    env.target.restart()
    env.wait_for(env.storage.is_alive, bool, "FAI-002", "is_alive of a client from before, once the datastore is back")


@check("FAI-003")
def closed_storage_raises_from_every_method(env: Env) -> None:
    """After ``close`` every method raises ``StorageClosed``, also of handles and open claims, or with wrong input."""
    storage = env.connect()
    calls = [call for make in (message_calls, queue_calls, storage_calls) for call in make(storage, env)]
    handle = storage.queue(env.queue())
    calls += [
        ("handle.post", lambda: handle.post(1)),
        ("handle.list", handle.list),
        ("handle.stats", handle.stats),
        ("handle.purge", handle.purge),
        ("storage.queue", lambda: storage.queue("q")),
        ("storage.capabilities_for", lambda: storage.capabilities_for("q")),
        ("messages.post with a wrong queue", lambda: storage.messages.post("", [])),
    ]
    if env.declares(Capability.POP):
        calls.append(("handle.pop", handle.pop))
    if env.declares(Capability.CLAIMS):
        handle.post("claimed")
        held = env.see(
            lambda: handle.claim(ttl=60, grace=0), lambda claim: len(claim) == 1, "FAI-003", "a claim of one message"
        )
        [message] = held
        calls += [
            ("handle.claim", handle.claim),
            ("handle.claim with wait", lambda: handle.claim(wait=60)),
            ("handle.consume", lambda: next(handle.consume())),
            ("renew of an open claim", held.renew),
            ("delete of a claimed message", message.delete),
            ("release of a claimed message", message.release),
            ("release of an open claim", held.release),
            *claim_calls(storage, env),
        ]
    storage.close()
    for what, call in calls:
        ensure_raises(StorageClosed, "FAI-003", f"{what} after close", call)
    ensure("closed" in repr(storage), "FAI-003", f"repr of a closed Storage does not say so: {storage!r}")


@check("FAI-003")
def close_twice_is_once(env: Env) -> None:
    """``close`` may be called again, of the ``Storage`` and of its driver, from many threads at once too."""
    storage = env.connect()
    for _ in range(3):
        storage.close()
    storage.driver.close()
    shared = env.connect()
    shared.messages.stats(env.queue())
    env.threads(8, lambda _: shared.close(), within=20)
    env.threads(8, lambda _: shared.driver.close(), within=20)
    ensure_raises(StorageClosed, "FAI-003", "stats after close", lambda: shared.messages.stats("q"))
    with env.connect() as inner:
        inner.close()


@check("FAI-003")
def close_of_one_client_leaves_the_others(env: Env) -> None:
    """Closing one client closes no other of the same backend, made before or after, in whatever thread."""
    queue, before, closing = env.queue(), env.connect(), env.connect()
    for client in (before, closing):
        client.messages.post(queue, [NewMessage(1)])
    closing.close()
    after = env.connect()
    for client in (before, after, env.storage):
        client.messages.post(queue, [NewMessage(1)])
    env.see(
        lambda: [client.messages.stats(queue).total for client in (before, after, env.storage)],
        lambda seen: seen == [5, 5, 5],
        "FAI-003",
        "messages that three open clients see after 5 posts, one by a client closed since, expected 5 each",
    )


@check("FAI-003")
def close_while_others_work(env: Env) -> None:
    """Calls under way while another thread closes answer or raise an error of the storage, then ``StorageClosed``."""
    for _ in range(3):
        storage, queue = env.connect(), env.queue()
        for error in env.threads(4, _Closing(storage, queue), within=30)[1:]:
            ensure(
                isinstance(error, StorageError),
                "FAI-003",
                f"a call while another thread closes: expected StorageClosed (or another StorageError), got {error!r}",
            )
        call = partial(storage.messages.post, queue, [NewMessage(1)])
        ensure_raises(StorageClosed, "FAI-003", "post after close", call)


class _Closing:
    """Work of threads: the first closes once the others have got going; those give the error that ended them."""

    _GOING = 6

    def __init__(self, storage: Storage, queue: str) -> None:
        self._storage = storage
        self._queue = queue
        self._rounds = threading.Semaphore(0)

    def __call__(self, index: int) -> Exception | None:
        if index:
            return self._work()
        for _ in range(self._GOING):
            self._rounds.acquire(timeout=5)
        self._storage.close()
        return None

    def _work(self) -> Exception:
        try:
            for number in range(100_000):
                self._storage.messages.post(self._queue, [NewMessage(number)])
                self._storage.messages.list(self._queue)
                self._rounds.release()
        except NotImplementedError:
            raise  # it is yet to be written, which is not what this looks for
        except Exception as error:
            return error
        finally:
            self._rounds.release(self._GOING)  # lest the first waits for those that have ended
        return RuntimeError("100 000 posts and no end")


@check("FAI-011")
def unknown_option_is_refused(env: Env) -> None:
    """A URI option that the driver does not know raises ``InvalidOption`` that names it and the closest known one."""
    text = str(_refused(env, "conformance_no_such_option", "1"))
    known = _known_options(env)
    if not known:
        env.note("the driver takes no options: there is no closest match")
    for name in known:
        ensure(
            name in text, "FAI-011", f"the error of an option like no other does not name the known {name!r}: {text}"
        )
        for misspelt in (name[:-1] + name[-1] * 2, name[1:], f"{name}s"):
            if misspelt not in known:
                text_of = str(_refused(env, misspelt, "1"))
                ensure(
                    re.search(rf"\b{name}\b", text_of),
                    "FAI-011",
                    f"the error of the option {misspelt!r} does not name the closest, {name!r}: {text_of}",
                )
        capital = name.upper()
        ensure(
            capital in str(_refused(env, capital, "1")), "FAI-011", f"the error does not name the option {capital!r}"
        )


@check("FAI-011")
def wrong_option_value_is_refused(env: Env) -> None:
    """A value that an option does not take raises ``InvalidOption`` that names the option, from URI and keyword."""
    typed = _typed_options(env)
    for name in _known_options(env):
        for value in ("no such value", "", "\U0001f600", "nan", "-1e999"):
            try:
                _connect_with(env, name, value).close()
            except InvalidOption as refused:
                ensure(
                    name in str(refused),
                    "FAI-011",
                    f"the error of {name}={value!r} does not name the option: {refused}",
                )
                continue
            except ZaqarError as other:
                seen = f"got {type(other).__name__}: {other}"
            else:
                seen = "it opened"
            what = f"connect with {name}={value!r}, an option of the type {typed.get(name)}"
            ensure(name not in typed, "FAI-011", f"{what}: expected InvalidOption, {seen}")


@check("FAI-011")
def wrong_option_creates_nothing(env: Env) -> None:
    """A wrong option makes no datastore: not where one would be made at the first connection."""
    if not env.target.embedded:
        env.note("a server is there before anybody connects: there is nothing to be created")
        return
    target = env.target.fresh()
    with tempfile.TemporaryDirectory(prefix="zaqar-conformance-") as folder:
        uri = target.start(Path(folder))
        try:
            before = sorted(Path(folder).rglob("*"))
            for name, value in [
                ("conformance_no_such_option", "1"),
                *((name, "no such value") for name in _typed_options(env)),
            ]:
                what = f"connect to a new datastore with {name}={value}"
                ensure_raises(InvalidOption, "FAI-011", what, partial(env.connect, uri=uri, **{name: value}))
                made = [str(path) for path in sorted(Path(folder).rglob("*")) if path not in before]
                ensure(not made, "FAI-011", f"{what} was refused, but made {', '.join(made)}")
        finally:
            target.stop()


# --- in time ------------------------------------------------------------------------------------------


def _all_end_in_time(env: Env, calls: list[Call]) -> None:
    """These, and a new connection."""
    connect = partial(env.connect, connect_timeout=hasty(env), timeout=hasty(env))
    all_end_in_time([*calls, ("connect", connect)], hasty(env))


def _in_time(env: Env, call: Callable[[], object]) -> object:
    """The call's result or error; ``Violation`` if it takes longer than its ``timeout`` allows."""
    ended: list[tuple[object, Exception | None]] = []

    def run() -> None:
        try:
            ended.append((call(), None))
        except Exception as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    limit = longest(hasty(env))
    thread.join(limit)
    if not ended:
        raise Violation("FAI-002", f"a call with timeout={hasty(env)} was not over after {limit} s")
    result, error = ended[0]
    if error is not None:
        raise error
    return result


def _post_again(client: Storage, queue: str) -> bool:
    try:
        client.messages.post(queue, [NewMessage("after")])
    except StorageUnavailable:
        return False
    return True


# --- options ------------------------------------------------------------------------------------------


def _connect_with(env: Env, name: str, value: str) -> Storage:
    """Connect to the datastore under test with this option and no other of that name."""
    uri = Uri.parse(env.uri)
    if name in uri.options:
        raise InvalidOption(f"{name} is in the URI of the target")
    arguments: dict[str, Any] = {name: value}
    return env.connect(**arguments)


def _refused(env: Env, name: str, value: str) -> Exception:
    raised = ensure_raises(
        InvalidOption,
        "FAI-011",
        f"connect with the unknown option {name}={value}",
        lambda: _connect_with(env, name, value),
    )
    ensure(repr(name) in str(raised), "FAI-011", f"the error does not name the option {name!r}: {raised}")
    return raised


def _known_options(env: Env) -> list[str]:
    """The driver's options, where they are a dataclass that ``zaqar_core.uri.read_options`` reads; else none."""
    options = _options_class(type(env.driver))
    reserved = {"uri", *env.settings}
    return (
        [] if options is None else [field.name for field in dataclasses.fields(options) if field.name not in reserved]
    )


def _typed_options(env: Env) -> dict[str, str]:
    """The options that do not take any text, with their types."""
    options = _options_class(type(env.driver))
    hints = {} if options is None else get_type_hints(options)
    return {name: str(hints[name]) for name in _known_options(env) if _is_typed(hints[name])}


def _is_typed(hint: Any) -> bool:
    parts = {hint, *get_args(hint)}
    return get_origin(hint) is Literal or (str not in parts and not parts.isdisjoint({bool, int, float}))


def _options_class(driver: type[Driver]) -> Any:
    """The dataclass of the driver's options: the one called ``...Options`` in its module or the module ``options``."""
    package = driver.__module__.rpartition(".")[0]
    for name in (driver.__module__, f"{package}.options"):
        for each in vars(sys.modules.get(name, object)).values():
            if isinstance(each, type) and dataclasses.is_dataclass(each) and each.__name__.endswith("Options"):
                return each
    return None
