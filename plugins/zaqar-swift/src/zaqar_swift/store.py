"""Requests to Swift: on connections that are kept, repeated where that does no harm, in the time given."""

from __future__ import annotations

import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import md5
from typing import Any, Final, NamedTuple, TypeVar

import requests
import swiftclient.client as swift
from swiftclient.exceptions import ClientException

from zaqar_core import kit
from zaqar_core.errors import OutcomeUnknown, StorageClosed, StorageError, StorageUnavailable
from zaqar_swift.access import Access, Grant
from zaqar_swift.errors import Exists, Internal, NotThere, TokenRefused, TryAgain, broken, newer_there, refused
from zaqar_swift.forks import renew_in_child
from zaqar_swift.http import SwiftConnection
from zaqar_swift.logs import unlogged
from zaqar_swift.packing import Packed
from zaqar_swift.turns import TURNS
from zaqar_swift.workers import CLOSED, Call, NotDone, Workers

T = TypeVar("T")

LONGEST_PAGE: Final = 10_000
"""How many names Swift lists at once."""

ACCEPTED: Final = 202
"""The status of a PUT that stored nothing."""

_MOST_TOKENS: Final = 4
"""How many tokens one request may be refused with: a token may end while it waits for a connection."""
_LATE: Final = 0.25
"""Seconds after the deadline until which a thread may say what became of its work, which ends at the deadline."""
_SHORTEST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.5


class Row(NamedTuple):
    """An object in a listing. ``data``: None unless it was fetched."""

    name: str
    content_type: str
    data: bytes | None = None


class Found(NamedTuple):
    """An object that was fetched."""

    content_type: str
    data: bytes


class Store:
    """One account. Every method ends by ``deadline``, a moment of ``time.monotonic()``, and raises ``StorageError``."""

    def __init__(self, access: Access, *, connections: int, timeout: float) -> None:
        self._access = access
        self._connections = connections
        self._closed = False
        self.timeout = timeout
        self.where = access.where
        renew_in_child(self)

    def renew(self) -> None:
        self._process = _Process(self._connections, self.where)

    def deadline(self) -> float:
        """The moment at which an operation that begins now must have ended."""
        return kit.deadline(self.timeout)

    def run(self, operation: Callable[[], T], *, changes: bool) -> T:
        """What the operation returns, which ends by the caller's deadline and runs where no signal interrupts it.

        It raises the documented errors only. ``changes``: whether one that did not end in time may have done something.
        """
        if kit.forked():
            raise StorageUnavailable("this process was forked in the middle of a call, which only the parent completes")
        deadline = self.deadline()
        try:
            return self._process.operations.run(partial(limited, operation, deadline), deadline + _LATE)
        except NotDone:
            if changes:
                raise OutcomeUnknown(f"{self.where} did not do it in time; it may have been done") from None
            raise StorageUnavailable(f"{self.where} did not answer in time; try again") from None

    def start(self, work: Callable[[], object]) -> None:
        """Do this in the background: its outcome is lost, ``close`` waits for it. Not at all if no thread starts."""
        with contextlib.suppress(StorageError):
            self._process.operations.start(Call(work))

    def page(
        self,
        container: str,
        prefix: str,
        deadline: float,
        *,
        marker: str = "",
        end: str = "",
        limit: int = LONGEST_PAGE,
        reverse: bool = False,
    ) -> list[Row]:
        """The objects whose names start with ``prefix``, after ``marker`` and before ``end``, by name."""

        def send(url: str, token: str, http: Any) -> list[Row]:
            _, rows = swift.get_container(
                url,
                token,
                container,
                prefix=prefix,
                marker=marker or None,
                end_marker=end or None,
                limit=limit,
                query_string="reverse=true" if reverse else None,
                http_conn=http,
            )
            return [Row(row["name"], row["content_type"]) for row in rows]

        try:
            return self._until(deadline, send, changes=False)
        except NotThere:
            return []

    def get(self, container: str, name: str, deadline: float, *, newest: bool = False) -> Found | None:
        """The object, or None. ``newest``: all replicas are asked."""
        headers = {"X-Newest": "true"} if newest else None

        def send(url: str, token: str, http: Any) -> Found:
            fields, data = swift.get_object(url, token, container, name, http_conn=http, headers=headers)
            if fields.get("etag", "").strip('"') != md5(data, usedforsecurity=False).hexdigest():
                raise ValueError("the reply does not hold what its checksum says")  # it broke off in its headers
            return Found(fields.get("content-type", ""), data)

        try:
            return self._until(deadline, send, changes=False)
        except NotThere:
            return None

    def put(
        self,
        container: str,
        name: str,
        packed: Packed,
        deadline: float,
        *,
        delete_at: int = 0,
        new: bool = False,
        once: bool = False,
    ) -> bool:
        """Store an object. ``delete_at``: Swift may remove it then, in seconds since 1970.

        ``new``: only if none is there, as far as Swift can tell; whether it was stored. ``once``: never sent again
        where it may have been done, lest it bring back what has been deleted since.
        """
        headers = {"X-Delete-At": str(delete_at)} if delete_at else {}
        if new:
            headers["If-None-Match"] = "*"

        def send(url: str, token: str, http: Any) -> None:
            reply: dict[str, Any] = {}
            swift.put_object(
                url,
                token,
                container,
                name,
                packed.data,
                content_length=len(packed.data),
                content_type=packed.content_type,
                headers=headers,
                http_conn=http,
                response_dict=reply,
            )
            if reply["status"] == ACCEPTED:
                raise newer_there(self.where)

        def make(url: str, token: str, http: Any) -> None:
            swift.put_container(url, token, container, http_conn=http)

        try:
            try:
                self._until(deadline, send, once=once)
            except NotThere:
                # All messages of a first post find no container at once; to make it many times is slow.
                turn = TURNS.of((self.where, container)).take(deadline)
                try:
                    self._until(deadline, send, once=once)
                except NotThere:
                    self._until(deadline, make)
                    self._until(deadline, send, once=once, made=True)
                finally:
                    turn.give_back()
        except Exists:
            if not new:
                raise
            return False
        return True

    def keep(self, container: str, name: str, delete_at: int, deadline: float) -> bool:
        """Let Swift remove an object not before ``delete_at``. False if it is not there: nothing brings it back."""

        def send(url: str, token: str, http: Any) -> None:
            swift.post_object(url, token, container, name, {"X-Delete-At": str(delete_at)}, http_conn=http)

        try:
            self._until(deadline, send)
        except NotThere:
            return False
        return True

    def delete(self, container: str, name: str, deadline: float) -> bool:
        """Delete an object, and its entry in the listing if only that is left. Whether it was there."""
        tries = 0

        def send(url: str, token: str, http: Any) -> None:
            nonlocal tries
            tries += 1
            swift.delete_object(url, token, container, name, http_conn=http)

        try:
            self._until(deadline, send)
        except NotThere:
            return tries > 1  # then it is this call that deleted it, the answer to which was lost
        return True

    def account(self, deadline: float) -> dict[str, str]:
        """The headers of the account."""

        def send(url: str, token: str, http: Any) -> dict[str, str]:
            known: dict[str, str] = swift.head_account(url, token, http_conn=http)
            return known

        return self._until(deadline, send, changes=False)

    def at_once(self, calls: Sequence[Callable[[], T]], deadline: float) -> list[T | StorageError]:
        """The results of the calls, in parallel; errors of the storage are results too."""
        if len(calls) == 1:
            return [_outcome(calls[0])]
        started = [self._started(partial(_outcome, call)) for call in calls]
        until = deadline + _LATE / 2  # before the callers that wait for this give up
        return [call if isinstance(call, StorageError) else self._result(call, until) for call in started]

    def _started(self, work: Callable[[], T]) -> Call[T] | StorageError:
        call = Call(work)
        try:
            self._process.requests.start(call)
        except StorageError as error:
            return error
        return call

    def _result(self, call: Call[T | StorageError], until: float) -> T | StorageError:
        try:
            return call.result(until)
        except StorageClosed as error:
            return error
        except NotDone:
            if call.give_up():
                return StorageUnavailable(f"{self.where} was too slow, this was not begun; try again")
            return OutcomeUnknown(f"{self.where} did not do it in time; it may have been done")

    def all_of(self, calls: Sequence[Callable[[], T]], deadline: float) -> list[T]:
        """The results of the calls, in parallel; raises the first error, once all have ended."""
        return self._good(calls, deadline, changes=False)

    def all_done(self, calls: Sequence[Callable[[], T]], deadline: float) -> list[T]:
        """As ``all_of``, for calls that change something: raises ``OutcomeUnknown`` where some may have been done."""
        return self._good(calls, deadline, changes=True)

    def _good(self, calls: Sequence[Callable[[], T]], deadline: float, *, changes: bool) -> list[T]:
        results = self.at_once(calls, deadline) if calls else []
        good = [result for result in results if not isinstance(result, StorageError)]
        errors = [result for result in results if isinstance(result, StorageError)]
        if not errors:
            return good
        worst = next((error for error in errors if isinstance(error, OutcomeUnknown)), errors[0])
        if changes and good:
            raise OutcomeUnknown(f"{len(good)} of {len(results)} were done, the rest not or maybe: {worst}") from worst
        if isinstance(worst, OutcomeUnknown) and not changes:
            raise StorageUnavailable(f"{worst}; it was to be read, try again") from worst
        raise worst

    def close(self) -> None:
        """Refuse new operations, wait for running ones until the timeout, and close the connections. Twice is once.

        An operation that is cut short may leave a claim that others have to wait for.
        """
        self._process.operations.close()
        try:
            self._process.operations.join(self.deadline())
        finally:
            self._closed = True
            self._process.close()

    def _until(
        self,
        deadline: float,
        send: Callable[[str, str, Any], T],
        *,
        changes: bool = True,
        once: bool = False,
        made: bool = False,
    ) -> T:
        """Try until it works, has to be told, or time is up. ``changes``: an unknown outcome matters.

        ``made``: the container was made just now; Swift may go on saying for seconds that it is not there.
        """
        unanswered: StorageError | None = None
        pause = _SHORTEST_PAUSE
        tokens = 0
        while True:
            try:
                grant = self._access.grant(deadline)
                return self._attempt(grant, deadline, send)
            except StorageError as error:
                if isinstance(error, OutcomeUnknown):
                    unanswered = error
                    again = not once
                elif isinstance(error, TokenRefused):
                    self._access.refused(grant, deadline)
                    tokens += 1
                    again = tokens < _MOST_TOKENS
                else:
                    again = isinstance(error, TryAgain) or (made and isinstance(error, NotThere))
                if not again or time.monotonic() + pause >= deadline:
                    if unanswered is None or (isinstance(error, NotThere | Exists) and not again):
                        raise
                    if changes:
                        raise unanswered from error.__cause__
                    if isinstance(error, StorageClosed):
                        raise
                    raise StorageUnavailable(f"{unanswered}; it was to be read, try again") from error.__cause__
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _attempt(self, grant: Grant, deadline: float, send: Callable[[str, str, Any], T]) -> T:
        if time.monotonic() >= deadline:
            raise StorageUnavailable(f"time was up before {self.where} was asked; nothing was done: try again")
        process = self._process
        slot = process.slots.take(deadline)
        try:
            return self._send(process, grant, deadline, send)
        finally:
            slot.give_back()

    def _send(self, process: _Process, grant: Grant, deadline: float, send: Callable[[Any, str, Any], T]) -> T:
        """Ask once. The connection is used again only if its reply was read to the end."""
        http = process.take(grant.url)
        used_before = http is not None
        if http is None:
            http = SwiftConnection(grant.url, cacert=self._access.ca or None, insecure=not self._access.verify)
        http.limit.moment = deadline
        whole = False
        try:
            if self._closed:
                raise StorageClosed(CLOSED)
            with unlogged():
                result = send(grant.url, grant.token, (http.parsed_url, http))
            whole = True
        except StorageError as error:
            whole = isinstance(error, Internal)
            raise
        except ClientException as error:
            answer = refused(error, self.where)
            whole = isinstance(answer, Internal)
            raise answer from error
        except Exception as error:  # requests, urllib3 and what they use let many kinds pass
            if used_before and isinstance(error, requests.Timeout):
                process.drop_idle()  # if one died silently, the others did too
            raise broken(error, self.where) from error
        finally:
            if whole:
                process.keep(grant.url, http)
            else:
                http.close()
        return result


class _Process:
    """Connections and threads, which no other process may use."""

    def __init__(self, connections: int, where: str) -> None:
        self.operations = Workers()
        self.requests = Workers(connections)
        self.slots = kit.Slots(connections, f"each connection to {where}")
        self._idle: deque[tuple[str, SwiftConnection]] = deque()
        self._closed = False

    def take(self, url: str) -> SwiftConnection | None:
        """An idle connection to that account."""
        with contextlib.suppress(IndexError):
            while True:
                known, http = self._idle.pop()
                if known == url:
                    return http
                http.close()
        return None

    def keep(self, url: str, http: SwiftConnection) -> None:
        self._idle.append((url, http))
        if self._closed:
            self.drop_idle()

    def drop_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop()[1].close()

    def close(self) -> None:
        self._closed = True
        self.operations.close()
        self.requests.close()
        self.drop_idle()


def limited(operation: Callable[[], T], deadline: float) -> T:
    """The operation's result, by this deadline. What it raises is for the driver's callers."""
    try:
        with kit.time_limit(deadline - time.monotonic()):
            return operation()
    except Internal as error:
        raise StorageUnavailable(str(error)) from error.__cause__


def _outcome(call: Callable[[], T]) -> T | StorageError:
    try:
        return call()
    except StorageError as error:
        return error
