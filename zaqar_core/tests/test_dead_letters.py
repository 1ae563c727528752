"""Moving dead letters is housekeeping: its failures cost no consumer a message, and are seen elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zaqar_conformance.reference.state import State
from zaqar_core import Message, NewMessage, Storage, connect
from zaqar_core.contract import EncodedMessage, QueueKey, new_id
from zaqar_core.errors import (
    ClaimDoesNotExist,
    IncompatibleStorage,
    InvalidDuration,
    OutcomeUnknown,
    StorageFull,
    StorageUnavailable,
    ZaqarError,
)
from zaqar_core.kit import remaining
from zaqar_core.observers import ObservedOperation, hookimpl, register, unregister

sys.path.insert(0, str(Path(__file__).parent))
from faults import UNKNOWN_AFTER, WAYS, Faults, faulty

SETTINGS = {"_max_claim_count": 1, "_dead_letter_queue": "dead"}
TTL = 60.0


class Clock:
    """One clock for the store, the core and the test; nobody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now


class Seen:
    """What an observer is shown of moves."""

    def __init__(self) -> None:
        self.moves: list[tuple[str | None, int | None, BaseException | None]] = []

    @hookimpl
    def operation_finished(self, operation: ObservedOperation, count: int | None, error: BaseException | None) -> None:
        if operation.name == "dead_letters.move":
            self.moves.append((operation.queue, count, error))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    make = State.__init__

    def made(state: State) -> None:
        make(state)
        state.now = lambda: int(clock.now * 1000)

    monkeypatch.setattr(State, "__init__", made)
    monkeypatch.setattr("zaqar_core.claims.time", clock)
    monkeypatch.setattr("zaqar_core.dead_letters.time", clock)
    monkeypatch.setattr(
        sys.modules["zaqar_core.kit.deadline"], "time", clock
    )  # the package has a function of that name
    return clock


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    register(seen)
    yield seen
    unregister(seen)


@pytest.fixture
def uri() -> str:
    return f"memory://{new_id()}"


def prepare(storage: Storage, *, dead: int = 3, healthy: int = 4, client_id: str = "poster") -> None:
    """Dead letters, then healthy messages, in the queue ``q``."""
    storage.queues.create("q", SETTINGS)
    if dead:
        storage.messages.post("q", [NewMessage(f"dead {n}", ttl=3600) for n in range(dead)], client_id=client_id)
        claim = storage.claims.create("q", ttl=TTL, limit=dead)
        storage.claims.delete("q", str(claim.id))
    if healthy:
        storage.messages.post("q", [NewMessage(n, ttl=3600) for n in range(healthy)])


def bodies(messages: Any) -> list[Any]:
    return [message.body for message in messages]


def everything(storage: Storage, queue: str) -> list[tuple[Any, int, bool]]:
    messages: Any = storage.messages.list(queue, include_claimed=True, limit=1000).items
    return [(message.body, message.claim_count, message.claim_id is not None) for message in messages]


def consume_all(storage: Storage, clock: Clock) -> list[Message]:
    """What consumers get from now on, each message done at its first claim; after all leases have ended."""
    clock.now += 2 * TTL
    got: list[Message] = []
    while True:
        claim = storage.claims.create("q", ttl=TTL, limit=10)
        if claim.id is None:
            return got
        got += claim.messages
        for message in claim.messages:
            storage.messages.delete("q", message.id, claim_id=claim.id)


@pytest.mark.parametrize("limit", [1, 2, 5, 10])
@pytest.mark.parametrize("way", WAYS)
def test_a_failure_at_any_step_costs_no_healthy_message(
    way: str, limit: int, uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(uri, metadata_ttl=0) as operator, faulty(uri, monkeypatch, metadata_ttl=0) as (client, faults):
        prepare(operator)
        client.claims.create("q", ttl=TTL, limit=limit)
        calls = len(faults.calls)
    assert calls >= 5
    for number in range(1, calls + 1):
        store = f"{uri}{number}"
        with connect(store, metadata_ttl=0) as operator, faulty(store, monkeypatch, metadata_ttl=0) as (client, faults):
            prepare(operator)
            before = everything(operator, "q")
            faults.fail(number, way)
            got: list[Any] = []
            error = None
            try:
                got = bodies(client.claims.create("q", ttl=TTL, limit=limit).messages)
            except ZaqarError as raised:
                error = raised
            where = f"call {number}, {faults.calls}: {error!r}"
            held = {body for body, _, claimed in everything(operator, "q") if claimed and body in range(4)}
            if error is None:
                assert got == [*range(4)][: len(got)], where
                assert 1 <= len(got) <= limit, where
            elif not isinstance(error, OutcomeUnknown):
                assert everything(operator, "q") == before, where
                assert bodies(operator.messages.list("dead").items) == [], where
            else:
                assert not held or (way == UNKNOWN_AFTER and faults.calls[number - 1] == "claims.create"), where
            faults.fail(0, way)
            handed_out = {*got, *bodies(consume_all(client, clock))}
            dead = bodies(operator.messages.list("dead", limit=100).items)
            assert handed_out | held == {*range(4)}, where  # ``held``: by a claim whose answer was lost
            assert handed_out <= {*range(4)}, where
            assert sorted(body for body in dead if isinstance(body, str)) == ["dead 0", "dead 1", "dead 2"], where
            assert len(dead) == len(set(dead)), where  # dedup ids: none is there twice
            assert everything(operator, "q") == [], where


@pytest.mark.parametrize("error", [StorageFull("SECRET-free"), OutcomeUnknown("gone"), IncompatibleStorage("odd")])
@pytest.mark.parametrize("step", ["messages.post", "messages.delete", "records.insert"])
def test_a_failed_move_is_logged_and_observed_and_the_claim_returned(
    error: Exception,
    step: str,
    uri: str,
    clock: Clock,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with connect(uri, metadata_ttl=0) as operator, faulty(uri, monkeypatch) as (client, faults):
        prepare(operator)

        fail_with(faults, step, error)
        claim = client.claims.create("q", ttl=TTL)
        assert bodies(claim.messages) == [0, 1, 2, 3]
        held = client.claims.get("q", str(claim.id)).messages
        assert [(one.body, one.claim_count > 1) for one in held] == [
            *(("dead 0", True), ("dead 1", True), ("dead 2", True)),
            *((number, False) for number in range(4)),
        ]
        assert seen.moves == [("q", None, error)]
        [record] = [one for one in caplog.records if one.name == "zaqar_core.dead_letters"]
        assert record.levelno == logging.WARNING
        assert "dead letters of queue 'q' of project '' could not be moved to 'dead'" in record.message
        assert not record.exc_info
        faults.on_call = lambda name: None
        assert consume_all(client, clock) == []  # healthy ones had one try
        assert sorted(set(map(str, bodies(operator.messages.list("dead", limit=100).items)))) == [
            *"0123",
            "dead 0",
            "dead 1",
            "dead 2",
        ]


def test_a_move_is_observed_with_its_number(uri: str, clock: Clock, seen: Seen) -> None:
    with connect(uri) as storage:
        prepare(storage)
        storage.claims.create("q", ttl=TTL)
        assert seen.moves == [("q", 3, None)]
        assert len(storage.messages.list("dead").items) == 3


def test_what_cannot_be_moved_is_not_tried_again_by_the_same_claim(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try may take as long as a server that does not answer."""
    with connect(uri) as operator, faulty(uri, monkeypatch) as (client, faults):
        prepare(operator, dead=20)
        refuse(faults, "messages.post")
        assert bodies(client.claims.create("q", ttl=TTL, limit=2).messages) == [0, 1]
        assert faults.calls.count("messages.post") == 1


def test_nothing_is_claimed_while_the_metadata_cannot_be_read(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them a claim cannot know which messages are on their last try."""
    with connect(uri) as operator, faulty(uri, monkeypatch) as (client, faults):
        prepare(operator)
        before = everything(operator, "q")
        refuse(faults, "records.get")
        for _ in range(5):
            with pytest.raises(StorageUnavailable):
                client.claims.create("q", ttl=TTL)
        assert everything(operator, "q") == before


class Alarm(Exception):
    """What a signal handler of the application raises."""


@pytest.mark.parametrize("step", ["messages.post", "messages.delete", "records.insert"])
def test_what_a_signal_handler_raises_in_a_move_is_not_swallowed(
    step: str, uri: str, clock: Clock, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(uri, metadata_ttl=0) as operator, faulty(uri, monkeypatch) as (client, faults):
        prepare(operator)
        fail_with(faults, step, Alarm())
        with pytest.raises(Alarm):
            client.claims.create("q", ttl=TTL)
        assert [type(error) for _, _, error in seen.moves] == [Alarm]


def test_a_claim_that_holds_only_dead_letters_shows_them(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(uri) as operator, faulty(uri, monkeypatch) as (client, faults):
        prepare(operator, healthy=0)
        refuse(faults, "messages.post")
        assert client.claims.create("q", ttl=TTL).id is None
        held = operator.messages.list("q", include_claimed=True).items[0].claim_id
        assert bodies(client.claims.get("q", str(held)).messages) == ["dead 0", "dead 1", "dead 2"]


def test_a_lowered_maximum_hides_nothing_that_a_claim_handed_out(uri: str, clock: Clock) -> None:
    with connect(uri, metadata_ttl=0) as storage:
        storage.messages.post("q", [NewMessage(number, ttl=100 * TTL) for number in range(2)])
        storage.claims.delete("q", str(storage.claims.create("q", ttl=TTL).id))
        claim = storage.claims.create("q", ttl=TTL)
        assert bodies(claim.messages) == [0, 1]
        storage.queues.set_metadata("q", SETTINGS)
        assert storage.claims.get("q", str(claim.id)).messages == claim.messages
        with pytest.raises(InvalidDuration, match="delay is 60000 s, and a message has less left to live; nothing was"):
            storage.claims.delete("q", str(claim.id), delay=1000 * TTL)
        assert storage.messages.stats("q").claimed == 2
        storage.claims.delete("q", str(claim.id), delay=5)
        assert storage.messages.stats("q").delayed == 2


def test_a_dead_letter_with_little_life_left_does_not_forbid_the_delay_of_others(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(uri) as operator, faulty(uri, monkeypatch) as (client, faults):
        operator.queues.create("q", SETTINGS)
        operator.messages.post("q", [NewMessage("dead", ttl=2 * TTL)])
        first = operator.claims.create("q", ttl=TTL, grace=0)
        operator.claims.delete("q", str(first.id))
        operator.messages.post("q", [NewMessage("healthy", ttl=100 * TTL)])
        refuse(faults, "messages.post")
        inner, release = client.claims._claims, "release"
        real = getattr(inner, release)

        def judged(queue: Any, claim_id: str, *, message_ids: Any = None, delay: float = 0.0) -> None:
            held = operator.messages.list("q", include_claimed=True).items
            moved = [one for one in held if message_ids is None or one.id in message_ids]
            if any(one.ttl - one.age <= delay for one in moved):
                raise InvalidDuration("the delay outlasts a message")
            real(queue, claim_id, message_ids=message_ids, delay=delay)

        monkeypatch.setattr(inner, release, judged, raising=False)
        claim = client.queue("q").claim(ttl=TTL, grace=0)
        assert bodies(claim) == ["healthy"]
        with pytest.raises(InvalidDuration):  # whether the dead letter was handed out, only the claim's holder knows
            client.claims.delete("q", str(claim.id), delay=5 * TTL)
        assert operator.messages.stats("q").claimed == 2
        with pytest.raises(InvalidDuration):
            claim.release(delay=1000 * TTL)
        assert operator.messages.stats("q").claimed == 2
        claim.release(delay=5 * TTL)
        states = {one.body: one.claim_id for one in operator.messages.list("q", include_claimed=True).items}
        assert states == {"dead": claim.id}  # and the healthy one is delayed


# --- moves that take longer than their claim ----------------------------------------------------------------------


def slow(faults: Faults, clock: Clock, seconds: Callable[[str], float]) -> None:
    """Calls take time, before they take effect; none is begun when there is no time left."""

    def wait(name: str) -> None:
        if remaining(600) <= 0:
            raise StorageUnavailable("the timeout is over")
        clock.now += seconds(name)

    faults.on_call = wait


def refuse(faults: Faults, step: str) -> None:
    fail_with(faults, step, StorageUnavailable("no server"))


def fail_with(faults: Faults, step: str, error: Exception) -> None:
    def fail(name: str) -> None:
        if name == step:
            raise error

    faults.on_call = fail


@pytest.mark.parametrize("without", ["", "?without=IDEMPOTENT_POST"])
@pytest.mark.parametrize("per_message", [0.01, 0.5, 2.0, 9.0])
def test_a_slow_move_makes_no_copies(
    per_message: float, without: str, uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eighty dead letters, on a store where each takes a while; the lease is ten seconds."""
    lease = 10.0
    with connect(uri + without) as operator, faulty(uri + without, monkeypatch, timeout=600) as (client, faults):
        prepare(operator, dead=80, healthy=0)
        real = client.driver.messages._inner  # type: ignore[union-attr]  # a Controller
        post = real.post

        def post_slowly(queue: Any, messages: Any, *, client_id: str) -> Any:
            clock.now += per_message * len(messages)
            return post(queue, messages, client_id=client_id)

        monkeypatch.setattr(real, "post", post_slowly)
        for _ in range(300):
            client.claims.create("q", ttl=lease, limit=80)
            clock.now += lease + 1
            copies = bodies(operator.messages.list("dead", limit=1000).items)
            assert len(copies) == len(set(copies))
            if len(copies) == 80:
                break
        assert len(copies) == 80
        assert everything(operator, "q") == []
        posts = faults.calls.count("messages.post")
        assert per_message > 0.01 or posts <= 3  # small at first, then as many as there is time for


def test_a_lease_that_is_over_before_the_deletion_leaves_no_second_copy(
    uri: str, clock: Clock, seen: Seen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without idempotent posts the copy is taken back: its original is still there and is moved again."""
    uri += "?without=IDEMPOTENT_POST"
    with connect(uri) as operator, faulty(uri, monkeypatch, timeout=600) as (client, faults):
        prepare(operator, dead=5, healthy=0)
        calls = iter([TTL + 1, 0.0] * 5)  # the second of two deletions takes the copy back
        slow(faults, clock, lambda name: next(calls) if name == "messages.delete" else 0.0)
        for _ in range(5):
            assert client.claims.create("q", ttl=TTL, limit=5).id is None
        assert bodies(operator.messages.list("dead").items) == []
        assert len(everything(operator, "q")) == 5
        assert all(isinstance(error, ClaimDoesNotExist) for _, _, error in seen.moves)
        assert "their claim ended before 1 of 1 could be deleted" in caplog.text
        faults.on_call = lambda name: None
        assert consume_all(client, clock) == []
        assert len(operator.messages.list("dead").items) == 5


def test_a_post_that_uses_up_the_time_leaves_no_second_copy(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no time left for the deletion then, but for taking the copy back there is."""
    uri += "?without=IDEMPOTENT_POST"
    with connect(uri) as operator, faulty(uri, monkeypatch, timeout=600) as (client, faults):
        prepare(operator, dead=5)
        slow(faults, clock, lambda name: 0.6 * TTL if name == "messages.post" else 0.0)
        claim = client.claims.create("q", ttl=TTL)
        assert bodies(claim.messages) == [0, 1, 2, 3]
        assert faults.calls[-3:] == ["messages.post", "messages.delete", "messages.delete"]
        assert bodies(operator.messages.list("dead").items) == []


def test_a_timeout_among_dead_letters_says_that_some_may_be_moved(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(uri) as operator, faulty(uri, monkeypatch) as (client, faults):
        prepare(operator, dead=20)
        left = iter([10.0, 10.0, 10.0, 0.0])
        monkeypatch.setattr("zaqar_core.claims.remaining", lambda timeout: next(left, 0.0))
        with pytest.raises(OutcomeUnknown, match="claim again"):
            client.claims.create("q", ttl=TTL, limit=1)
        assert faults.calls.count("claims.create") == 4
        healthy = [claimed for body, _, claimed in everything(operator, "q") if body in range(4)]
        assert healthy == [False] * 4


def test_what_a_consumer_cannot_decode_comes_back_when_its_claim_ends_and_becomes_a_dead_letter(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zaqar_core.handle.time", clock)
    with connect(uri) as storage:
        storage.queues.create("q", {"_max_claim_count": 2, "_dead_letter_queue": "dead"})
        assert storage.driver.messages is not None
        bad = [EncodedMessage(b"\0unknown\0", 3600.0)]
        [bad_id] = storage.driver.messages.post(QueueKey("", "q"), bad, client_id="another")
        for attempt in (1, 2):
            got = [(message.id, message.claim_count) for message in storage.queue("q").consume(ttl=TTL, wait=0)]
            assert got == [(bad_id, attempt)]
            assert [*storage.queue("q").consume(ttl=TTL, wait=0)] == []
            clock.now += TTL
        assert [*storage.queue("q").consume(ttl=TTL, wait=0)] == []
        assert [letter.raw for letter in storage.queue("dead").list().items] == [b"\0unknown\0"]
    assert [record.message.startswith(f"message {bad_id} of queue 'q'") for record in caplog.records] == [True] * 2
