"""What goes wrong between a client and Swift ends in the contract's errors, or in a safe second try."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import requests
from swiftclient.exceptions import ClientException

from zaqar_conformance.proxy import Cut, Proxy
from zaqar_conformance.servers import Server, free_port
from zaqar_core.contract import EncodedMessage, QueueKey, Space, new_id
from zaqar_core.errors import (
    IncompatibleStorage,
    OutcomeUnknown,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from zaqar_core.uri import Uri
from zaqar_swift import errors, queues, sweep
from zaqar_swift.driver import SwiftDriver, records_container
from zaqar_swift.packing import Packed
from zaqar_swift.queues import Place
from zaqar_swift.server import HOST
from zaqar_swift.store import Row
from zaqar_swift.target import control

OpenDriver = Callable[..., SwiftDriver]
StartServer = Callable[..., Server]
Post = Callable[..., list[str]]
Shown = Callable[[SwiftDriver], list[str]]


@pytest.fixture
def behind(proxy: Proxy, server: Server, open_driver: OpenDriver, monkeypatch: pytest.MonkeyPatch) -> SwiftDriver:
    """A driver whose every request goes through the proxy: Swift gives out URLs with the port it was asked at."""
    return open_driver(through=proxy)


def test_a_token_that_ends_is_renewed_in_mid_operation(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    server = start_server("--token-life", "1")
    driver = open_driver(server.port)
    ids = post(driver)
    first = driver._store._access.grant(driver._store.deadline()).token
    time.sleep(2.1)  # that long the token lives, by the server's clock of whole seconds
    assert shown(driver) == ids
    assert driver._store._access.grant(driver._store.deadline()).token != first


@pytest.mark.parametrize("where", list(Cut))
def test_reads_and_deletions_are_sent_again(
    behind: SwiftDriver, proxy: Proxy, queue: QueueKey, post: Post, shown: Shown, where: Cut
) -> None:
    ids = post(behind, 2)
    proxy.cut(where)
    assert shown(behind) == ids
    proxy.cut(where)
    assert behind.messages.delete(queue, ids[:1], claim_ids=None) == {}
    assert proxy.cuts_left == 0
    assert shown(behind) == ids[1:]


@pytest.mark.parametrize("where", [Cut.BEFORE_REQUEST, Cut.INSIDE_REQUEST, Cut.AFTER_REQUEST])
def test_a_post_is_never_sent_twice(behind: SwiftDriver, proxy: Proxy, post: Post, shown: Shown, where: Cut) -> None:
    """A second one could bring back what has been consumed and deleted since the first."""
    post(behind)
    proxy.cut(where)
    begun = proxy.round_trips
    with pytest.raises(OutcomeUnknown):
        post(behind)
    assert proxy.round_trips == begun + 1
    assert len(shown(behind)) in (1, 2)


def test_claims_and_records_survive_a_reply_that_breaks_off(
    behind: SwiftDriver, proxy: Proxy, queue: QueueKey, post: Post
) -> None:
    ids = post(behind, 3)
    proxy.cut(Cut.INSIDE_REPLY, times=2)
    claim = behind.claims.create(queue, ttl=60, grace=0, limit=3)
    assert [message.id for message in claim.messages] == ids
    space, key = Space("queues", new_id()), "key"
    version = behind.records.insert(space, key, b"1", nonce="n")
    proxy.cut(Cut.AFTER_REQUEST)
    record = behind.records.get(space, key)
    assert record is not None
    assert record.version == version


def test_a_slow_swift_ends_in_a_time_out(proxy: Proxy, open_driver: OpenDriver, shown: Shown) -> None:
    driver = open_driver(through=proxy, timeout=0.5)
    proxy.delay(5)
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable, match="in time"):
        shown(driver)
    assert time.monotonic() - begin < 3
    proxy.delay(0)


def test_nothing_there_is_said_at_once() -> None:
    uri = Uri.parse(f"swift+http://u:hush@{HOST}:{free_port()}/auth/v1.0")
    with pytest.raises(StorageUnavailable, match="cannot be reached") as caught:
        SwiftDriver.open(uri, connect_timeout=5, timeout=5)
    assert caught.value.__cause__ is not None
    assert "hush" not in str(caught.value)


def test_a_wrong_password_is_said(server: Server) -> None:
    uri = Uri.parse(f"swift+http://test%3Atester:hush@{HOST}:{server.port}/auth/v1.0")
    with pytest.raises(StorageUnavailable, match="user and password") as caught:
        SwiftDriver.open(uri, connect_timeout=5, timeout=5)
    assert "hush" not in str(caught.value)


def test_a_store_of_another_shape_is_left_alone(open_driver: OpenDriver) -> None:
    prefix = f"p{new_id()[:8].replace('_', 'x')}"
    open_driver(prefix=prefix, containers=2)
    with pytest.raises(IncompatibleStorage, match="containers"):
        open_driver(prefix=prefix, containers=3)


@pytest.mark.parametrize("containers", [None, 2])
def test_of_two_who_make_a_store_at_once_neither_goes_by_what_the_other_replaced(
    driver: SwiftDriver, open_driver: OpenDriver, monkeypatch: pytest.MonkeyPatch, containers: int | None
) -> None:
    """The other one's layout of three containers is written a moment later: Swift had looked for one before."""
    prefix = f"p{new_id()[:8].replace('_', 'x')}"
    other = Packed("application/json", b'{"layout": 1, "containers": 3}')
    sleep = time.sleep
    replaced: list[bool] = []

    def replace_meanwhile(seconds: float) -> None:
        if not replaced:
            replaced.append(True)
            driver._store.put(records_container(prefix), "layout", other, driver._store.deadline())
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", replace_meanwhile)
    if containers is None:
        assert open_driver(prefix=prefix)._queues.containers == 3
    else:
        with pytest.raises(IncompatibleStorage, match="3 containers"):
            open_driver(prefix=prefix, containers=containers)


def test_what_others_put_there_is_not_taken_for_messages(
    driver: SwiftDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    post(driver)
    place = driver._queues.place(queue)
    driver._store.put(place.container, place.prefix + "m/zzz", Packed("text/plain", b""), driver._store.deadline())
    with pytest.raises(IncompatibleStorage, match="another prefix"):
        shown(driver)


def test_one_replica_of_three_may_fail_and_come_back(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """All goes on; what was acknowledged meanwhile is there; once listings have caught up all clients see it."""
    server = start_server(replicas=3)
    driver = open_driver(server.port)
    ids = post(driver, 2)
    control(server.port, "fail/0")
    ids += post(driver, 2)
    assert driver.messages.delete(queue, ids[:1], claim_ids=None) == {}
    control(server.port, "heal/0")
    assert [message.id for message in driver.messages.get(queue, ids[1:])] == ids[1:]
    control(server.port, "update")
    for _ in range(20):
        assert shown(driver) == ids[1:]


def test_without_a_majority_a_post_says_that_it_does_not_know(
    start_server: StartServer, open_driver: OpenDriver, post: Post
) -> None:
    server = start_server(replicas=3)
    driver = open_driver(server.port, timeout=5)
    post(driver)
    control(server.port, "fail/0")
    control(server.port, "fail/1")
    with pytest.raises(OutcomeUnknown, match="503"):
        post(driver)


def test_lingering_entries_of_what_expired_are_not_shown_and_swept_by_gc(
    start_server: StartServer,
    open_driver: OpenDriver,
    queue: QueueKey,
    post: Post,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not at once: a claimer may have taken it in time, and be about to write the claim."""
    server = start_server()
    driver = open_driver(server.port)
    post(driver, 3, ttl=0.2)
    [lasting] = post(driver)
    deadline = time.monotonic() + 10
    while shown(driver) != [lasting]:
        assert time.monotonic() < deadline
    place = driver._queues.place(queue)
    assert len(driver._store.page(place.container, place.prefix, driver._store.deadline())) == 4
    assert driver.gc() == 0
    monkeypatch.setattr(queues, "OVER_AFTER", 0)
    assert driver.gc() == 3
    assert len(driver._store.page(place.container, place.prefix, driver._store.deadline())) == 1
    assert driver.gc() == 0


def slow_listings(driver: SwiftDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few objects at a time, for two of which there is time in a call."""
    page = driver._store.page

    def slow(*arguments: Any, **options: Any) -> list[Row]:
        rows = page(*arguments, **options)
        time.sleep(0.3 * driver._store.timeout)
        return rows

    monkeypatch.setattr(sweep, "LONGEST_PAGE", 4)
    monkeypatch.setattr(driver._store, "page", slow)


def swept(driver: SwiftDriver, expected: int) -> int:
    """How many objects gc removed, called as often as two rounds take at most."""
    removed = 0
    for _ in range(12):
        if removed < expected:
            removed += driver.gc()
    return removed


def sizes(driver: SwiftDriver, places: Sequence[Place]) -> list[int]:
    found = [driver._store.page(place.container, place.prefix, driver._store.deadline()) for place in places]
    return [len(rows) for rows in found]


def test_gc_without_time_for_all_goes_on_where_it_stopped(
    open_driver: OpenDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From container to container: no call fails, and none is needed twice for the same."""
    watching = open_driver(prefix=f"sweep-{new_id()}", containers=4)
    driver = open_driver(prefix=watching._queues.prefix, timeout=2.0)
    queues_of = {watching._queues.place(each).container: each for each in [QueueKey("p", f"q{n}") for n in range(40)]}
    assert len(queues_of) == 4
    for each in queues_of.values():
        watching.messages.post(each, [EncodedMessage(b"1", 0.2)] * 2, client_id="c")
    monkeypatch.setattr(queues, "OVER_AFTER", 0)
    time.sleep(0.3)  # until all messages have expired
    slow_listings(driver, monkeypatch)
    assert swept(driver, 8) == 8
    assert sizes(watching, [watching._queues.place(each) for each in queues_of.values()]) == [0, 0, 0, 0]


def test_gc_without_time_for_a_whole_queue_goes_on_in_its_middle(
    open_driver: OpenDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is claimed is known there too, and stays."""
    watching = open_driver(prefix=f"sweep-{new_id()}", containers=1)
    driver = open_driver(prefix=watching._queues.prefix, timeout=2.0)
    lasting = post(watching, 8)
    assert watching.claims.create(queue, ttl=600, grace=0, limit=8).id
    held = post(watching, 1, ttl=2)
    claim = watching.claims.create(queue, ttl=600, grace=0, limit=1)
    assert [message.id for message in claim.messages] == held
    post(watching, 2, ttl=0.2)
    monkeypatch.setattr(queues, "OVER_AFTER", 0)
    time.sleep(2.1)  # until what is held has ended but for its claim
    slow_listings(driver, monkeypatch)
    assert swept(driver, 2) == 2
    assert sizes(watching, [watching._queues.place(queue)]) == [8 + 1 + 2], "the messages left, and both claims"
    assert [message.id for message in watching.messages.get(queue, [*lasting, *held])] == [*lasting, *held]


def test_a_container_that_is_gone_is_made_again(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """Somebody deleted it; a queue in it is empty then, and takes messages again."""
    driver = open_driver(start_server().port)
    ids = post(driver)
    driver.messages.delete(queue, ids, claim_ids=None)
    place = driver._queues.place(queue)

    def remove(url: str, token: str, http: object) -> None:
        import swiftclient.client as swift

        swift.delete_container(url, token, place.container, http_conn=http)

    driver._store._until(driver._store.deadline(), remove)
    assert shown(driver) == []
    ids = post(driver)
    assert shown(driver) == ids


def test_threads_wait_for_a_connection_no_longer_than_they_may(
    behind: SwiftDriver, proxy: Proxy, open_driver: OpenDriver, shown: Shown
) -> None:
    driver = open_driver(through=proxy, timeout=1.0, connections=1)
    proxy.delay(3)
    seen: list[StorageError] = []

    def read() -> None:
        try:
            shown(driver)
        except StorageError as error:
            seen.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begin < 5
    assert len(seen) == 3
    proxy.delay(0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.TokenRefused),
        (404, errors.NotThere),
        (412, errors.Exists),
        (429, errors.TryAgain),
        (498, errors.TryAgain),
        (413, StorageFull),
        (507, StorageFull),
        (403, StorageUnavailable),
        (400, StorageUnavailable),
        (408, OutcomeUnknown),
        (500, OutcomeUnknown),
        (503, OutcomeUnknown),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[StorageError]) -> None:
    error = errors.refused(ClientException("failed", http_status=status, http_reason="Reason"), "host")
    assert type(error) is kind
    assert str(status) in str(error)


def test_only_what_was_not_sent_counts_as_not_done() -> None:
    unsent = errors.broken(requests.ConnectTimeout("no"), "host")
    assert not isinstance(unsent, OutcomeUnknown)
    assert isinstance(errors.broken(requests.ReadTimeout("late"), "host"), OutcomeUnknown)
    assert isinstance(errors.broken(requests.ConnectionError("aborted"), "host"), OutcomeUnknown)


def test_a_post_that_was_partly_stored_says_so(
    behind: SwiftDriver, proxy: Proxy, queue: QueueKey, shown: Shown
) -> None:
    proxy.cut(Cut.BEFORE_REQUEST)
    with pytest.raises(OutcomeUnknown):
        behind.messages.post(queue, [EncodedMessage(b"1", 600.0)] * 4, client_id="c")
    assert len(shown(behind)) == 3
