"""With a coordinator no message is ever in two live claims, or in a claim and a pop, whatever client stops or dies."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trustme

from zaqar_conformance.hiding import Secrets
from zaqar_conformance.proxy import Cut, Proxy
from zaqar_conformance.servers import Server, free_port
from zaqar_core import Capability
from zaqar_core.contract import EncodedMessage, QueueKey, Refusal, StoredClaim, new_id
from zaqar_core.errors import IncompatibleStorage, InvalidOption, OutcomeUnknown, StorageFull, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_swift.coordinator import Change, Coordinator
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.names import MESSAGES, Clock
from zaqar_swift.options import options_of
from zaqar_swift.queues import View
from zaqar_swift.server import uri
from zaqar_swift.target import control, coordinator_uri

OpenDriver = Callable[..., SwiftDriver]
StartServer = Callable[..., Server]
StartRedis = Callable[..., Server]
Post = Callable[..., list[str]]
Shown = Callable[[SwiftDriver], list[str]]

LEASE = 1.0
LONG = 600.0
BODY = b'"' + b"x" * 3_000 + b'"'
"""So long that it is fetched separately."""
RIGHTS = "~zaqar-swift:* +get +set +del +mget +eval +info"
"""Those that the README names."""
HELPER = Path(__file__).with_name("stopping.py")


@pytest.fixture
def driver(open_with: OpenDriver) -> SwiftDriver:
    return open_with()


def claim(driver: SwiftDriver, queue: QueueKey, *, ttl: float = LONG, limit: int = 10) -> StoredClaim:
    return driver.claims.create(queue, ttl=ttl, grace=0, limit=limit)


def ids_of(claim: StoredClaim) -> list[str]:
    return [message.id for message in claim.messages]


def objects(driver: SwiftDriver, queue: QueueKey, kind: str) -> list[str]:
    """The queue's claims or messages, as Swift lists them."""
    place = driver._queues.place(queue)
    rows = driver._store.page(place.container, place.prefix + kind, driver._store.deadline())
    return [row.name.removeprefix(place.prefix + kind) for row in rows]


def gone(driver: SwiftDriver, queue: QueueKey, ids: list[str]) -> set[str]:
    """Those of the messages that the coordinator says are deleted or popped."""
    view = View(driver._queues.clock.now())
    driver.messages._choice.look(driver._queues.place(queue), view, ids, driver._store.deadline())
    return {some_id for some_id in ids if view.gone(some_id)}


# --- Whoever stops or dies when -----------------------------------------------------------------------


class Stopping:
    """A process that works on a queue and stops itself before its request number ``step``."""

    def __init__(
        self,
        driver_uri: str,
        queue: QueueKey,
        work: str,
        step: int,
        *,
        ttl: float = LEASE,
        compare: bool = True,
    ) -> None:
        told = {"uri": driver_uri, "queue": queue, "work": work, "step": step, "ttl": ttl, "compare": compare}
        command = [sys.executable, str(HELPER), json.dumps(told)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def stops(self) -> bool:
        """Wait until it stops; False if it ended without."""
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self._process.returncode = os.waitstatus_to_exitcode(status)
        assert self._process.returncode == 0
        return False

    def result(self) -> dict[str, Any]:
        """Let it go on, and wait for what it did."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
        printed, _ = self._process.communicate(timeout=60)
        result: dict[str, Any] = json.loads(printed)
        return result

    def kill(self) -> dict[str, Any]:
        """``kill -9``: it does nothing more."""
        self._process.kill()
        self._process.communicate()
        return {}


def take_what_is_left(driver: SwiftDriver, queue: QueueKey, ids: list[str]) -> dict[str, str]:
    """Claim until every message is held by a claim made here, or gone for good; which claim holds which."""
    taken: dict[str, str] = {}
    deadline = time.monotonic() + 30
    while set(ids) - taken.keys() - gone(driver, queue, ids):
        assert time.monotonic() < deadline, "the messages of a claim that ended are not free again"
        made = claim(driver, queue)
        taken |= dict.fromkeys(ids_of(made), str(made.id))
        time.sleep(0.05)  # while claims of those that stopped run out
    return taken


@pytest.mark.parametrize("ending", ["goes on", "is killed"])
@pytest.mark.parametrize("work", ["claim", "pop", "delete", "renew", "release"])
def test_who_stops_between_any_two_requests_takes_nothing_from_others(
    open_with: OpenDriver, server: Server, redis: Server, prefix: str, post: Post, work: str, ending: str
) -> None:
    """Its lease ends meanwhile, others claim, and it goes on, or dies: what the others hold is theirs alone."""
    driver = open_with()
    address = written(server, redis, prefix)
    for step in count():
        queue = QueueKey(f"project-{new_id()}", "queue")
        ids = [*post_to(driver, queue), *post_to(driver, queue, BODY)]
        client = Stopping(address, queue, work, step)
        stopped = client.stops()
        taken = take_what_is_left(driver, queue, ids)
        did = client.kill() if stopped and ending == "is killed" else client.result()
        assert "error" not in did
        assert not set(did.get("taken", ())) & taken.keys()
        for some_id, claim_id in taken.items():
            held = driver.claims.get(queue, claim_id)
            assert held is not None
            assert some_id in ids_of(held)
        if did.get("claim"):
            assert driver.claims.get(queue, did["claim"]) is None
            refused = driver.messages.delete(queue, list(taken), claim_ids=[did["claim"]])
            assert refused == dict.fromkeys(taken, Refusal.CLAIM_DOES_NOT_EXIST)
        assert driver.messages.delete(queue, list(taken), claim_ids=sorted(set(taken.values()))) == {}
        deadline = soon()
        while objects(driver, queue, MESSAGES):  # who claims next deletes them, once Swift shows no claim of them
            assert claim(driver, queue).id is None
            assert time.monotonic() < deadline
        if not stopped:
            break
    assert step >= 4, "there are no so few requests"


@pytest.mark.parametrize("compare", [True, False])
def test_it_is_the_comparison_that_keeps_a_late_claimer_from_what_others_have(
    open_with: OpenDriver, server: Server, redis: Server, prefix: str, queue: QueueKey, compare: bool
) -> None:
    """One stops once it has read that a message is free; another claims it. Without the comparison both have it."""
    driver = open_with()
    ids = post_to(driver, queue)
    client = Stopping(written(server, redis, prefix), queue, "claim", SWAP, ttl=LONG, compare=compare)
    assert client.stops()
    mine = claim(driver, queue)
    assert ids_of(mine) == ids
    assert client.result()["held"] == ([] if compare else ids)


SWAP = 3
"""Of the requests of a claim with a long grace: a listing, the states, the time for which Swift keeps it, the swap."""


def post_to(driver: SwiftDriver, queue: QueueKey, body: bytes = b"1", count: int = 1) -> list[str]:
    return driver.messages.post(queue, [EncodedMessage(body, LONG)] * count, client_id="client")


def written(server: Server, redis: Server, prefix: str) -> str:
    """The URI that drivers of the test's store are opened with."""
    return f"{uri(server.port)}?{urlencode({'prefix': prefix, 'coordinator': coordinator_uri(redis.port)})}"


def test_many_claimers_share_out_the_messages(open_with: OpenDriver, queue: QueueKey) -> None:
    """And each is told that there is nothing left only when there is not."""
    drivers = [open_with() for _ in range(4)]
    ids = post_to(drivers[0], queue, count=60)
    taken: list[str] = []

    def work(driver: SwiftDriver, limit: int) -> None:
        while (
            some := [message.id for message in driver.messages.pop(queue, limit=limit)]
            if limit > 2
            else ids_of(claim(driver, queue, limit=limit))
        ):
            taken.extend(some)

    threads = [threading.Thread(target=work, args=(driver, limit)) for limit, driver in enumerate(drivers, start=1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == ids


# --- Late listings ------------------------------------------------------------------------------------


def test_what_was_deleted_is_not_handed_out_though_a_late_listing_shows_it(
    start_server: StartServer, open_with: OpenDriver, open_driver: OpenDriver, redis: Server, prefix: str
) -> None:
    """A replica that was away while messages were deleted, popped and purged lists them when it is back."""
    server = start_server(replicas=3)
    driver = open_driver(server.port, prefix=prefix, coordinator=coordinator_uri(redis.port))
    for remove in (
        lambda queue, ids: driver.messages.delete(queue, ids, claim_ids=None),
        lambda queue, ids: driver.messages.pop(queue, limit=len(ids)),
        lambda queue, ids: driver.messages.purge(queue),
    ):
        queue = QueueKey(f"project-{new_id()}", "queue")
        ids = post_to(driver, queue, count=2)
        control(server.port, "fail/0")
        remove(queue, ids)
        control(server.port, "heal/0")
        deadline = time.monotonic() + 30
        while not objects(driver, queue, MESSAGES):
            assert time.monotonic() < deadline, "no listing was late"
        for _ in range(20):
            assert claim(driver, queue).id is None
            assert driver.messages.pop(queue, limit=10) == []


def test_what_a_claimer_died_before_telling_swift_is_told_in_passing(
    driver: SwiftDriver, queue: QueueKey, post: Post
) -> None:
    """The coordinator knows that a message is gone: the next claimer deletes it from Swift."""
    [some_id] = post(driver)
    place, deadline = driver._queues.place(queue), driver._store.deadline()
    driver.messages._choice.bury(place, [some_id], deadline)
    assert objects(driver, queue, MESSAGES) == [some_id]
    assert claim(driver, queue).id is None
    assert objects(driver, queue, MESSAGES) == []


def test_what_swift_was_not_told_is_so_nevertheless(
    open_with: OpenDriver, driver: SwiftDriver, queue: QueueKey, post: Post
) -> None:
    """A release and a deletion of which Swift's part fails: their holder has lost the message for good.

    It is free again when the claim that Swift shows has ended.
    """
    other = open_with()
    [some_id] = post(driver)
    held = claim(other, queue, ttl=LEASE)
    assert held.id is not None
    with failing_writes(other), pytest.raises(OutcomeUnknown):
        other.claims.release(queue, held.id)
    assert not other.claims.update(queue, held.id, ttl=LONG, grace=0)
    deadline = soon()
    while not (again := claim(driver, queue)).messages:
        assert time.monotonic() < deadline
    assert ids_of(again) == [some_id]
    assert [message.claim_count for message in again.messages] == [2]
    with failing_writes(driver), pytest.raises(OutcomeUnknown):
        driver.messages.delete(queue, [some_id], claim_ids=[str(again.id)])
    assert claim(other, queue).id is None


# --- The coordinator itself ---------------------------------------------------------------------------


@pytest.fixture
def asked(redis: Server) -> Iterator[Coordinator]:
    """A coordinator that belongs to a store."""
    one = Coordinator(coordinator_uri(redis.port), new_id())
    one.belongs_to(one.settle_identity(time.monotonic() + 10))
    yield one
    one.close()


def soon() -> float:
    return time.monotonic() + 10


def test_all_changes_are_made_or_none(asked: Coordinator) -> None:
    assert asked.swap({"a": Change(b"", b"1", 60_000), "b": Change(b"", b"2", 60_000)}, soon())
    assert not asked.swap({"a": Change(b"1", b"3", 60_000), "b": Change(b"1", b"4", 60_000)}, soon())
    assert not asked.swap({"a": Change(b"1", b"3", 60_000), "c": Change(b"1", b"4", 60_000)}, soon())
    assert asked.read(["a", "b", "c"], soon()) == {"a": b"1", "b": b"2", "c": b""}
    assert asked.swap({"a": Change(b"1", b"", 1), "b": Change(b"2", b"5", 60_000)}, soon())
    assert asked.read(["a", "b", "c"], soon()) == {"a": b"", "b": b"5", "c": b""}


def test_a_change_that_is_sent_again_was_made(asked: Coordinator) -> None:
    """As after a reply that was lost; but not once another client has made another change."""
    change = {"a": Change(b"", b"1", 60_000)}
    assert asked.swap(change, soon())
    assert asked.swap(change, soon())
    assert asked.swap({"a": Change(b"1", b"2", 60_000)}, soon())
    assert not asked.swap(change, soon())


def test_states_go_when_their_time_is_over(asked: Coordinator) -> None:
    assert asked.swap({"a": Change(b"", b"1", 1)}, soon())
    deadline = soon()
    while asked.read(["a"], deadline) != {"a": b""}:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("where", list(Cut))
def test_a_reply_of_the_coordinator_that_is_lost_loses_nothing(
    redis: Server, open_with: OpenDriver, queue: QueueKey, post: Post, where: Cut
) -> None:
    with Proxy(redis.port) as between:
        driver = open_with(between.port)
        ids = post(driver, 2)
        claim(driver, QueueKey("another", "queue"))
        between.cut(where)
        held = claim(driver, queue)
        assert between.cuts_left == 0
        assert ids_of(held) == ids
        assert [message.claim_count for message in held.messages] == [1, 1]
        between.cut(where)
        assert driver.messages.delete(queue, ids, claim_ids=[str(held.id)]) == {}
        assert between.cuts_left == 0


def test_without_the_coordinator_nothing_is_taken_and_posts_and_reads_go_on(
    start_redis: StartRedis, open_with: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """When it is back all is as it was: what it had decided holds."""
    redis = start_redis()
    driver = open_with(redis.port, timeout=10)
    ids = post(driver, 2)
    held = claim(driver, queue, limit=1)
    redis.kill()
    with pytest.raises(StorageUnavailable, match="cannot be reached") as caught:
        claim(driver, queue)
    assert not isinstance(caught.value, OutcomeUnknown)
    with pytest.raises(StorageUnavailable):
        driver.messages.pop(queue, limit=1)
    with pytest.raises(StorageUnavailable):
        driver.messages.delete(queue, ids[1:], claim_ids=None)
    with pytest.raises(StorageUnavailable):
        driver.claims.update(queue, str(held.id), ttl=LONG, grace=0)
    ids += post(driver)
    assert shown(driver) == ids[1:]
    assert [message.id for message in driver.messages.get(queue, ids)] == ids
    redis.start()
    assert ids_of(claim(driver, queue)) == ids[1:]
    assert driver.messages.delete(queue, ids[:1], claim_ids=[str(held.id)]) == {}


@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_a_coordinator_that_is_killed_knows_what_it_had_written(
    start_redis: StartRedis, open_with: OpenDriver, queue: QueueKey, post: Post, policy: str
) -> None:
    """``kill -9`` between one claim and the next, with nothing in Swift that says what was taken.

    With everysec Redis may answer while it has yet to write, namely as long as it syncs: so that is waited for.
    """
    redis = start_redis("--appendfsync", policy)
    driver = open_with(redis.port)
    ids = post(driver, 3)
    held = claim(driver, queue, limit=1)
    place, asked = driver._queues.place(queue), driver._coordinator
    assert asked is not None
    driver._queues.drop_claim(place, str(held.id), soon())
    driver.messages._choice.bury(place, ids[1:2], soon())
    assert asked._call(soon(), "CONFIG", "GET", "appendfsync")[1] == policy.encode()
    deadline = soon()
    while b"aof_buffer_length:0" not in asked._call(soon(), "INFO", "persistence"):
        assert time.monotonic() < deadline
    redis.kill()
    redis.start()
    assert ids_of(claim(driver, queue)) == ids[2:]


def test_without_swift_nothing_is_taken(
    start_server: StartServer, open_driver: OpenDriver, redis: Server, prefix: str, queue: QueueKey, post: Post
) -> None:
    """The coordinator alone hands nothing out, and has nothing decided when Swift is back."""
    server = start_server()
    driver = open_driver(server.port, prefix=prefix, coordinator=coordinator_uri(redis.port), timeout=5)
    ids = post(driver, 2)
    server.kill()
    with pytest.raises(StorageUnavailable):
        claim(driver, queue)
    with pytest.raises(StorageUnavailable):
        driver.messages.pop(queue, limit=1)
    with pytest.raises(StorageUnavailable):
        driver.messages.delete(queue, ids, claim_ids=None)
    server.start()
    assert ids_of(claim(driver, queue)) == ids


def test_a_coordinator_that_does_not_answer_ends_in_a_time_out(
    start_redis: StartRedis, open_with: OpenDriver, queue: QueueKey, post: Post
) -> None:
    redis = start_redis()
    driver = open_with(redis.port, timeout=2)
    post(driver)
    claim(driver, QueueKey("another", "queue"))
    redis.pause()
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable, match="in time"):
        claim(driver, queue)
    assert time.monotonic() - begin < 5
    redis.resume()


def test_swift_that_fails_after_the_swap_gives_the_messages_back(
    driver: SwiftDriver, open_with: OpenDriver, queue: QueueKey, post: Post
) -> None:
    """Where it is sure that Swift has no claim there is none, and the messages are free at once."""
    ids = post(driver, 2)
    other = open_with()
    with failing_writes(other), pytest.raises(StorageUnavailable) as caught:
        claim(other, queue)
    assert not isinstance(caught.value, OutcomeUnknown)
    held = claim(driver, queue)
    assert ids_of(held) == ids
    assert [message.claim_count for message in held.messages] == [1, 1]


@pytest.mark.parametrize("ttl", [60.0, 600.0])
def test_a_claim_written_too_late_hands_out_nothing_that_others_have_deleted(
    open_with: OpenDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch, ttl: float
) -> None:
    """Before it is written 75 seconds pass: a message of one minute is over by then, and who lists it deletes it."""
    driver, other = open_with(), open_with()
    ids = post(driver, ttl=ttl)
    write_claim, now = driver._queues.write_claim, Clock.now

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(Clock, "now", lambda clock: now(clock) + 75_000_000)
        assert claim(other, queue).id is None
        assert objects(other, queue, MESSAGES) == (ids if ttl > 75 else [])
        write_claim(*arguments)

    driver._queues.write_claim = late  # type: ignore[assignment,method-assign]
    if ttl > 75:
        assert ids_of(claim(driver, queue)) == ids
    else:
        with pytest.raises(OutcomeUnknown, match="written so late"):
            claim(driver, queue)


@pytest.mark.parametrize("why", ["it does not answer", "another client changed them"])
def test_messages_that_cannot_be_given_back_are_not_said_to_be_free(
    start_redis: StartRedis, open_with: OpenDriver, queue: QueueKey, post: Post, why: str
) -> None:
    """Swift fails after the swap, and the coordinator then: they are held until the claim would have ended."""
    redis = start_redis()
    driver = open_with(redis.port)
    post(driver)
    asked = driver._coordinator
    assert asked is not None
    write_claim = driver._queues.write_claim

    def fail(*arguments: Any) -> None:
        if why == "it does not answer":
            redis.kill()
        else:
            [key] = asked._call(soon(), "KEYS", f"{asked._stem}{driver._queues.place(queue).prefix}*")
            asked._call(soon(), "APPEND", key, " ")
        raise StorageFull("507")

    driver._queues.write_claim = fail  # type: ignore[assignment,method-assign]
    with pytest.raises(OutcomeUnknown, match="may be held until the claim would have ended: 507"):
        claim(driver, queue)
    driver._queues.write_claim = write_claim  # type: ignore[method-assign]
    if why == "it does not answer":
        redis.start()
    assert claim(driver, queue).id is None


def test_nothing_is_cleaned_between_the_swap_and_the_claim(
    driver: SwiftDriver, open_with: OpenDriver, queue: QueueKey, post: Post
) -> None:
    """That would take the time in which the claim has to be written."""
    gone = post(driver)
    driver.messages._choice.bury(driver._queues.place(queue), gone, driver._store.deadline())
    [some_id] = post(driver)
    other = open_with()
    done: list[str] = []
    for kind in ("put", "delete"):
        noted(other, kind, done)
    assert ids_of(claim(other, queue)) == [some_id]
    assert done == ["put", "delete"]
    assert objects(driver, queue, MESSAGES) == [some_id]


def noted(driver: SwiftDriver, kind: str, done: list[str]) -> None:
    """Have each such request of the driver's be noted when it is begun."""
    send = getattr(driver._store, kind)

    def note(*arguments: Any, **options: Any) -> Any:
        done.append(kind)
        return send(*arguments, **options)

    setattr(driver._store, kind, note)


@pytest.mark.parametrize(
    "work",
    [
        lambda driver, queue, ids, held: driver.messages.delete(queue, ids, claim_ids=[held]),
        lambda driver, queue, ids, held: driver.claims.release(queue, held),
        lambda driver, queue, ids, held: driver.claims.update(queue, held, ttl=LONG, grace=0),
        lambda driver, queue, ids, held: driver.messages.pop(queue, limit=1),
        lambda driver, queue, ids, held: claim(driver, queue),
        lambda driver, queue, ids, held: driver.messages.purge(queue),
    ],
    ids=["delete", "release", "renew", "pop", "claim", "purge"],
)
def test_a_driver_that_is_closed_after_the_swap_does_not_say_that_nothing_was_done(
    driver: SwiftDriver, queue: QueueKey, post: Post, work: Callable[..., object]
) -> None:
    post(driver, 2)
    held = claim(driver, queue, limit=1)
    asked = driver._coordinator
    assert asked is not None
    swap = asked.swap

    def swap_and_close(*arguments: Any) -> bool:
        done = swap(*arguments)
        driver.close()
        return done

    asked.swap = swap_and_close  # type: ignore[assignment,method-assign]
    with pytest.raises(OutcomeUnknown, match="closed"):
        work(driver, queue, ids_of(held), str(held.id))


@contextmanager
def failing_writes(driver: SwiftDriver) -> Iterator[None]:
    """Swift takes no object and deletes none, and says so: nothing happens."""
    store = driver._store
    put, delete = store.put, store.delete

    def refuse(*arguments: Any, **options: Any) -> bool:
        raise StorageFull("507")

    store.put = store.delete = refuse  # type: ignore[method-assign]
    yield
    store.put, store.delete = put, delete  # type: ignore[method-assign]


# --- Which coordinator it is --------------------------------------------------------------------------


def test_a_store_has_one_coordinator_or_none_for_good(
    open_with: OpenDriver, open_driver: OpenDriver, start_redis: StartRedis, prefix: str
) -> None:
    open_with()
    with pytest.raises(IncompatibleStorage, match="name it by the option coordinator"):
        open_driver(prefix=prefix)
    with pytest.raises(IncompatibleStorage, match="is not the coordinator of this store"):
        open_with(start_redis().port)
    open_driver(prefix=f"{prefix}x")
    with pytest.raises(IncompatibleStorage, match="made without a coordinator"):
        open_with(prefix=f"{prefix}x")
    open_with()


def test_a_coordinator_that_lost_its_data_decides_nothing_until_it_is_told_whose_it_is(
    start_redis: StartRedis, open_with: OpenDriver, queue: QueueKey, post: Post
) -> None:
    """Another, empty one looks the same: so it is for the operator to say. What Swift knows of claims is not lost."""
    redis = start_redis()
    driver = open_with(redis.port)
    ids = post(driver, 2)
    held = claim(driver, queue, limit=1)
    asked = driver._coordinator
    assert asked is not None
    asked._call(soon(), "FLUSHALL")
    with pytest.raises(IncompatibleStorage):
        driver.ping()
    with pytest.raises(IncompatibleStorage, match="SET zaqar-swift:") as caught:
        claim(driver, queue)
    with pytest.raises(IncompatibleStorage):
        open_with(redis.port)
    command = str(caught.value).rpartition("whose it is: ")[2].split()
    asked._call(soon(), *command)
    assert ids_of(claim(driver, queue)) == ids[1:]
    assert driver.messages.delete(queue, ids[:1], claim_ids=None) == {ids[0]: Refusal.MESSAGE_IS_CLAIMED}
    assert driver.messages.delete(queue, ids[:1], claim_ids=[str(held.id)]) == {}


def test_a_coordinator_that_forgot_the_last_claims_believes_what_swift_says(
    driver: SwiftDriver, queue: QueueKey, post: Post
) -> None:
    """As a backup, or a replica that was promoted before it had caught up."""
    [some_id] = post(driver)
    asked, key = driver._coordinator, driver._queues.place(queue).prefix + some_id
    assert asked is not None
    driver.claims.release(queue, str(claim(driver, queue).id))
    old = asked.read([key], soon())[key]
    held = claim(driver, queue)
    assert asked.swap({key: Change(asked.read([key], soon())[key], old, 60_000)}, soon())
    assert claim(driver, queue).id is None
    assert driver.messages.delete(queue, [some_id], claim_ids=None) == {some_id: Refusal.MESSAGE_IS_CLAIMED}
    driver.claims.release(queue, str(held.id))
    assert [message.claim_count for message in claim(driver, queue).messages] == [3]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], None),
        (["--appendonly", "no"], "appendonly"),
        (["--maxmemory-policy", "allkeys-lru"], "maxmemory-policy"),
        (["--maxmemory-policy", "volatile-ttl"], "maxmemory-policy"),
    ],
)
def test_exclusive_claims_are_declared_where_the_coordinator_forgets_nothing(
    start_redis: StartRedis, open_with: OpenDriver, settings: list[str], said: str | None
) -> None:
    driver = open_with(start_redis(*settings).port)
    assert (Capability.EXCLUSIVE_CLAIMS in driver.capabilities) == (said is None)
    told = driver.health()["coordinator"]
    assert isinstance(told, dict)
    assert [gap.partition(" ")[0] for gap in told["shortcomings"]] == ([] if said is None else [said])


def test_without_a_coordinator_exclusive_claims_are_not_declared(open_driver: OpenDriver) -> None:
    assert Capability.EXCLUSIVE_CLAIMS not in open_driver().capabilities


# --- What is written for it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("etcd://me:hunter2@host", "neither the scheme redis nor rediss"),
        ("redis+sentinel://me:hunter2@host", "neither the scheme redis nor rediss"),
        ("me:hunter2@host", "starts with a scheme"),
        ("redis://me:hunter2@one,two", "one host"),
        ("redis://me:hunter2@", "one host"),
        ("redis://me:hunter2@host/name", "number of a database"),
        ("redis://me:hunter2@host:port", "invalid host or port"),
        ("redis://me:hunter2@host?db=1", "other options"),
        ("redis://me:hunter2@host?tls_ca=ca.pem", "other options"),
        ("rediss://me:hunter2@host?tls_ca=/nofile", "tls_ca: '/nofile' is not a file of certificates"),
    ],
)
def test_a_wrong_coordinator_is_told_what_to_write(text: str, said: str) -> None:
    where = Uri.parse(uri(1), {"coordinator": text})
    with pytest.raises(InvalidOption, match=said) as caught:
        SwiftDriver.open(where, connect_timeout=1, timeout=1)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__ or error.__context__


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(InvalidOption, match=r"pip install 'zaqar-swift\[redis\]'"):
        Coordinator("redis://host", "prefix")


def test_a_coordinator_that_is_not_there_is_said_at_once(open_with: OpenDriver) -> None:
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable, match="the option coordinator"):
        open_with(free_port())
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("CONFIG SET maxmemory 1", "has reached its maxmemory; raise it"),
        ("REPLICAOF 127.0.0.1 1", "is a read-only replica; name its primary"),
        ("CONFIG SET min-replicas-to-write 1", "has fewer replicas than it asks for"),
        ("ACL SETUSER claims -set", "see the driver's page for the rights"),
        ("ACL SETUSER claims resetkeys ~other:*", "see the driver's page for the rights"),
    ],
)
def test_what_the_coordinator_refuses_is_said_with_a_remedy(start_redis: StartRedis, command: str, said: str) -> None:
    port = start_redis("--user", "claims", *f"on >secret {RIGHTS}".split()).port
    with closing(Coordinator(coordinator_uri(port), "prefix")) as operator:
        identity = operator.settle_identity(soon())
        operator._call(soon(), *command.split())
    with closing(Coordinator(f"redis://claims:secret@127.0.0.1:{port}/0", "prefix")) as asked:
        asked.belongs_to(identity)
        with pytest.raises(StorageUnavailable, match=said) as caught:
            asked.swap({"a": Change(b"", b"1", 60_000)}, soon())
    assert not isinstance(caught.value, OutcomeUnknown)
    assert isinstance(caught.value, StorageFull) == ("maxmemory" in said)


@pytest.mark.parametrize(
    ("user", "database", "said"),
    [
        ("", 0, "asks for a password; write it into the option coordinator"),
        ("claims:wrong@", 0, "does not take this user and password; correct them"),
        ("claims:secret@", 1, "see the driver's page for the rights"),
        (":secret@", 99, "has no database of this number"),
    ],
)
def test_why_the_coordinator_does_not_let_one_in_is_said(
    start_redis: StartRedis, user: str, database: int, said: str
) -> None:
    port = start_redis("--requirepass", "secret", "--user", "claims", *f"on >secret {RIGHTS}".split()).port
    asked = Coordinator(f"redis://{user}127.0.0.1:{port}/{database}", "prefix")
    with closing(asked), pytest.raises(StorageUnavailable, match=said):
        asked.identity(soon())


def test_its_password_is_shown_nowhere(start_redis: StartRedis, open_with: OpenDriver) -> None:
    redis = start_redis("--requirepass", "hunter2")
    good = f"redis://:hunter2@127.0.0.1:{redis.port}/0"
    driver = open_with(coordinator=good)
    where = Uri.parse(uri(1), {"coordinator": good})
    shown = [str(driver.health()), str(where), repr(where), repr(options_of(where))]
    for wrong in (good.replace("hunter2", "hunter22"), good.replace(":hunter2@", "")):
        with pytest.raises(StorageUnavailable, match="password") as caught:
            open_with(coordinator=wrong)
        shown += [str(caught.value), str(caught.value.__cause__)]
    shown.append(Secrets(f"{uri(1)}?{urlencode({'coordinator': good})}").hide(f"{good} hunter2"))
    assert "hunter2" not in "".join(shown)


def test_tls_to_the_coordinator_trusts_whom_it_is_told_to(redis: Server, open_with: OpenDriver, tmp_path: Path) -> None:
    authority = trustme.CA()
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with Proxy(redis.port, tls=tls) as between:
        where = f"rediss://127.0.0.1:{between.port}/0"
        assert Capability.EXCLUSIVE_CLAIMS in open_with(coordinator=f"{where}?tls_ca={trusted}").capabilities
        with pytest.raises(StorageUnavailable, match="is not trusted; set tls_ca"):
            open_with(coordinator=where)
        with pytest.raises(StorageUnavailable, match="another host's"):
            open_with(coordinator=f"{where.replace('127.0.0.1', 'localhost')}?tls_ca={trusted}")


def test_tls_where_there_is_none_and_none_where_there_is_are_said_to_be_so(redis: Server, tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with Proxy(redis.port, tls=tls) as between:
        for wrong in (f"rediss://127.0.0.1:{redis.port}/0", f"redis://127.0.0.1:{between.port}/0"):
            asked = Coordinator(wrong, "prefix")
            with closing(asked), pytest.raises(StorageUnavailable, match="whether it speaks TLS"):
                asked.identity(time.monotonic() + 1)


@pytest.mark.parametrize(("further", "database"), [("", 0), ("+select", 1)])
def test_a_user_needs_few_rights_on_the_coordinator(
    start_redis: StartRedis, open_with: OpenDriver, queue: QueueKey, post: Post, further: str, database: int
) -> None:
    redis = start_redis("--user", "claims", *f"on >secret {RIGHTS} {further}".split())
    driver = open_with(coordinator=f"redis://claims:secret@127.0.0.1:{redis.port}/{database}")
    driver.ping()
    ids = post(driver, 2)
    held = claim(driver, queue, limit=1)
    assert driver.claims.update(queue, str(held.id), ttl=LONG, grace=0)
    assert driver.messages.delete(queue, ids[:1], claim_ids=[str(held.id)]) == {}
    assert [message.id for message in driver.messages.pop(queue, limit=2)] == ids[1:]


def test_a_replica_or_a_node_of_a_cluster_is_none(start_redis: StartRedis, open_with: OpenDriver) -> None:
    primary = start_redis()
    with pytest.raises(StorageUnavailable, match="is a replica"):
        open_with(start_redis("--replicaof", "127.0.0.1", str(primary.port)).port)
    with pytest.raises(InvalidOption, match="node of a cluster"):
        open_with(start_redis("--cluster-enabled", "yes").port)


# --- Requests -----------------------------------------------------------------------------------------


def test_requests_of_claims_with_a_coordinator(
    redis: Server, proxy: Proxy, open_with: OpenDriver, queue: QueueKey, post: Post
) -> None:
    """To Swift, and to the coordinator. docs/swift.md states them."""
    with Proxy(redis.port) as between:
        driver = open_with(between.port, through=proxy)
        post(driver, 60)
        held: list[StoredClaim] = []

        def cost(work: Callable[[], object]) -> tuple[int, int]:
            before = proxy.round_trips, between.round_trips
            work()
            return proxy.round_trips - before[0], between.round_trips - before[1]

        assert cost(lambda: held.append(claim(driver, queue))) == (2, 2)
        assert cost(lambda: held.append(claim(driver, queue))) == (2, 2)
        first, second = held
        assert cost(lambda: driver.claims.get(queue, str(first.id))) == (2, 0)
        assert cost(lambda: driver.claims.update(queue, str(first.id), ttl=LONG, grace=0)) == (3, 2)
        ids = ids_of(first)
        assert cost(lambda: driver.messages.delete(queue, ids[:1], claim_ids=[str(first.id)])) == (2, 2)
        assert cost(lambda: driver.messages.delete(queue, ids[1:], claim_ids=[str(first.id)])) == (1 + 9 + 1, 2)
        assert cost(lambda: driver.claims.release(queue, str(second.id))) == (2, 2)
        assert cost(lambda: driver.messages.pop(queue, limit=10)) == (1 + 10, 2)
        assert cost(lambda: driver.messages.purge(queue)) == (1 + 40 + 1 + 1, 2)
        assert cost(lambda: claim(driver, queue)) == (1, 0)
