"""Replies that break off anywhere, come byte by byte, or never: each call ends in time, and says what it knows."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from zaqar_conformance.servers import Server
from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.server import HOST

OpenDriver = Callable[..., SwiftDriver]
StartServer = Callable[..., Server]
Post = Callable[..., list[str]]
Shown = Callable[[SwiftDriver], list[str]]

LONG = b'"' + b"x" * 4_000 + b'"'
"""A body that is no part of a listing, but is fetched."""


class Narrow:
    """A way to Swift. ``let``: so many bytes come through of the next reply, or of that after ``skip`` others.

    ``drip``: bodies come byte by byte, each after so many seconds. ``lost``: deletions of what is called so get lost.
    """

    def __init__(self, port: int) -> None:
        self.let: int | None = None
        self.skip = 0
        self.drip = 0.0
        self.lost = b""
        self.longest = 0
        """Of the replies that came through, how long the longest was."""
        self._target = port
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._target))
                for run in (self._requests, self._replies):
                    threading.Thread(target=run, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while part := client.recv(65_536):
                if not (self.lost and part.startswith(b"DELETE") and self.lost in part.partition(b"\r\n")[0]):
                    server.sendall(part)
            server.shutdown(socket.SHUT_WR)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client, server:
            while part := server.recv(65_536):
                skip, self.skip = self.skip, max(0, self.skip - 1)
                if not skip and self.let is not None:
                    let, self.let = self.let, None
                    client.sendall(part[:let])
                    client.shutdown(socket.SHUT_RDWR)
                    return
                self.longest = max(self.longest, len(part))
                if self.drip:
                    head, end, body = part.partition(b"\r\n\r\n")
                    client.sendall(head + end)
                    for start in range(len(body)):
                        time.sleep(self.drip)
                        client.sendall(body[start : start + 1])
                else:
                    client.sendall(part)


@pytest.fixture
def narrow(server: Server) -> Iterator[Narrow]:
    one = Narrow(server.port)
    yield one
    one.close()


@pytest.fixture
def behind(narrow: Narrow, open_driver: OpenDriver) -> SwiftDriver:
    return open_driver(narrow.port)


def places(longest: int) -> list[int]:
    """Where to cut a reply: in its status, its headers, its body, and before its last byte."""
    return [0, 1, 9, 12, 15, *range(20, longest, max(1, longest // 12)), longest - 1]


def test_a_listing_that_breaks_off_anywhere_is_asked_for_again(
    behind: SwiftDriver, narrow: Narrow, post: Post, shown: Shown
) -> None:
    ids = post(behind, 5)
    narrow.longest = 0
    assert shown(behind) == ids
    for let in places(narrow.longest):
        narrow.let = let
        assert shown(behind) == ids
        assert narrow.let is None


def test_a_body_that_breaks_off_anywhere_is_asked_for_again(
    behind: SwiftDriver, narrow: Narrow, queue: QueueKey, post: Post
) -> None:
    [some_id] = post(behind, body=LONG)
    name = behind._queues.place(queue).prefix + "m/" + some_id
    container = behind._queues.place(queue).container
    narrow.longest = 0
    assert behind._store.get(container, name, behind._store.deadline())
    for let in places(narrow.longest):
        narrow.let = let
        found = behind._store.get(container, name, behind._store.deadline())
        assert found is not None
        assert found.data.endswith(LONG)
        assert narrow.let is None


@pytest.mark.parametrize("body", [b"1", LONG])
def test_a_post_whose_reply_breaks_off_anywhere_is_there_once(
    behind: SwiftDriver, narrow: Narrow, post: Post, shown: Shown, body: bytes
) -> None:
    """It says so, or that it does not know."""
    acknowledged = set(post(behind, body=body))  # and there is a container now
    sent = 1
    for let in places(200):
        narrow.let = let
        sent += 1
        try:
            acknowledged |= set(post(behind, body=body))
        except OutcomeUnknown:
            pass
        assert narrow.let is None
    found = shown(behind)
    assert len(found) == sent, "Swift got each of them whole"
    assert acknowledged <= set(found)


def test_deletions_claims_and_records_survive_replies_that_break_off(
    behind: SwiftDriver, narrow: Narrow, queue: QueueKey, post: Post, shown: Shown
) -> None:
    for let in places(200):
        ids = post(behind, 2)
        narrow.let = let
        assert behind.messages.delete(queue, ids[:1], claim_ids=None) == {}
        narrow.let = let
        claim = behind.claims.create(queue, ttl=60, grace=0, limit=5)
        assert [message.id for message in claim.messages] == ids[1:]
        assert claim.id is not None
        narrow.let = let
        assert behind.claims.update(queue, claim.id, ttl=70, grace=0)
        narrow.let = let
        assert behind.messages.delete(queue, ids[1:], claim_ids=[claim.id]) == {}
        assert shown(behind) == []
        space = Space("queues", queue.project)
        narrow.let = let
        version = behind.records.insert(space, f"key-{let}", b"1", nonce="n")
        assert version is not None, "it is not taken for another client's"
        narrow.let = let
        assert behind.records.replace(space, f"key-{let}", b"2", version=version, nonce="n") is not None
        record = behind.records.get(space, f"key-{let}")
        assert record is not None
        assert record.value == b"2"
        narrow.skip, narrow.let = 1, let  # it is read before it is deleted
        assert behind.records.delete(space, f"key-{let}"), "its own deletion is not taken for another client's"


def test_a_pop_whose_claim_cannot_be_dropped_any_more_is_done(
    narrow: Narrow, open_driver: OpenDriver, queue: QueueKey, post: Post
) -> None:
    """The messages are deleted by then: to call that undone would lose them unsaid."""
    hasty = open_driver(narrow.port, timeout=2.0)
    ids = post(hasty)
    narrow.lost = b"/c/"
    assert [message.id for message in hasty.messages.pop(queue, limit=1)] == ids


def test_a_listing_that_comes_byte_by_byte_ends_with_the_call(
    narrow: Narrow, open_driver: OpenDriver, post: Post, shown: Shown
) -> None:
    driver = open_driver(narrow.port, timeout=1.0)
    post(driver, 5)
    narrow.drip = 0.1
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable):
        shown(driver)
    assert time.monotonic() - begin < 3
    narrow.drip = 0


def test_every_call_on_a_paused_swift_ends_in_time(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """Those that change something say that it may have been done."""
    server = start_server()
    driver = open_driver(server.port, timeout=1.0)
    ids = post(driver, 3)
    claim = driver.claims.create(queue, ttl=60, grace=0, limit=1)
    space = Space("queues", queue.project)
    version = driver.records.insert(space, "key", b"1", nonce="n")
    assert claim.id is not None
    assert version is not None
    claim_id = claim.id
    reads: list[Callable[[], object]] = [
        driver.ping,
        driver.health,
        lambda: shown(driver),
        lambda: driver.messages.get(queue, ids),
        lambda: driver.messages.first(queue, newest=False),
        lambda: driver.messages.first(queue, newest=True),
        lambda: driver.messages.stats(queue),
        lambda: driver.claims.get(queue, claim_id),
        lambda: driver.records.get(space, "key"),
        lambda: driver.records.scan(space, limit=5),
        lambda: driver.records.count(space),
    ]
    # What reads before it writes has done nothing; what writes at once may have.
    writes: list[Callable[[], object]] = [
        lambda: post(driver, 3),
        lambda: driver.records.insert(space, "other", b"1", nonce="n"),
    ]
    mixed: list[Callable[[], object]] = [
        lambda: driver.messages.delete(queue, ids[1:], claim_ids=None),
        lambda: driver.messages.pop(queue, limit=2),
        lambda: driver.messages.purge(queue),
        lambda: driver.claims.create(queue, ttl=60, grace=0, limit=2),
        lambda: driver.claims.update(queue, claim_id, ttl=60, grace=0),
        lambda: driver.claims.release(queue, claim_id),
        lambda: driver.records.replace(space, "key", b"2", version=version, nonce="n"),
        lambda: driver.records.delete(space, "key"),
        driver.gc,
    ]
    server.pause()
    either = {StorageUnavailable, OutcomeUnknown}
    for calls, kinds in ((reads, {StorageUnavailable}), (mixed, either), (writes, {OutcomeUnknown})):
        for number, call in enumerate(calls):
            begin = time.monotonic()
            with pytest.raises(StorageError) as caught:
                call()
            assert time.monotonic() - begin < 3, number
            assert type(caught.value) in kinds, number
    server.resume()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(StorageUnavailable):
            assert {message.id for message in driver.messages.get(queue, ids)} == set(ids)
            break


def test_a_batch_of_which_many_hang_ends_in_time(driver: SwiftDriver) -> None:
    """What is not done at the deadline gets half a second more, once and not for each."""
    over = threading.Event()
    begin = time.monotonic()
    try:
        results = driver._store.at_once([lambda: over.wait(20)] * 12, begin + 0.5)
        assert time.monotonic() - begin < 3
    finally:
        over.set()
    assert all(isinstance(each, StorageUnavailable) for each in results)


def test_a_batch_of_which_one_reply_breaks_off_may_have_been_stored(
    narrow: Narrow, behind: SwiftDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    post(behind)  # and there is a container now
    narrow.let = 0
    with pytest.raises(OutcomeUnknown):
        behind.messages.post(queue, [EncodedMessage(b"1", 600.0)] * 4, client_id="c")
    assert len(shown(behind)) == 5
