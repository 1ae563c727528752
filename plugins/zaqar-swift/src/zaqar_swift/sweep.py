"""Removes what has expired, from unused queues too."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial
from typing import Final
from weakref import WeakKeyDictionary

from zaqar_core.errors import IncompatibleStorage, StorageUnavailable
from zaqar_swift.names import CLAIMS, MESSAGES, message_name
from zaqar_swift.packing import record_of, unpack
from zaqar_swift.queues import OVER_AFTER, Place, Queues, last_words
from zaqar_swift.store import LONGEST_PAGE, Row
from zaqar_swift.turns import TURNS

_STEP: Final = 200
_PREFIX: Final = 33
"""Characters: a queue's prefix, or that of a space of records."""
_LISTING: Final = 0.5
"""The part of the time given after which nothing more is listed; what was is deleted then."""
_DELETING: Final = 0.8
_FORGOTTEN: Final = 3600_000_000
"""Microseconds after which a claim that is still choosing is deleted."""

_STOPPED: Final[WeakKeyDictionary[Queues, tuple[int, str]]] = WeakKeyDictionary()
"""At which container, and behind which of its objects, time was up."""


def everything(queues: Queues, records: str, deadline: float) -> int:
    """Delete what has expired, as far as there is time for it; how many objects. None while another thread does so."""
    try:
        turn = TURNS.of((queues.store.where, records)).take(0.0)
    except StorageUnavailable:
        return 0
    try:
        return _everything(queues, records, deadline)
    finally:
        turn.give_back()


def _everything(queues: Queues, records: str, deadline: float) -> int:
    """It goes on where it stopped. A driver that never did so begins anywhere: else a process that is started anew for
    each call would never get beyond what it has time for.
    """
    begun = time.monotonic()
    listing, until = (begun + part * (deadline - begun) for part in (_LISTING, _DELETING))
    containers = [*(queues.container(number) for number in range(queues.containers)), records]
    anywhere = random.randrange(len(containers)), f"{random.getrandbits(128):032x}"
    first, marker = _STOPPED.get(queues, anywhere)
    removed, listed = 0, False
    for number in [*range(first, len(containers)), *range(first + 1)]:  # the first one again: what is before the marker
        container, now = containers[number], queues.clock.now()
        try:
            for rows, whole in _groups(queues, container, marker, listing):
                prefix, last = rows[0].name[:_PREFIX], rows[-1].name
                if container == records:
                    names = [row.name for row in rows if _is_expired_record(row, now)]
                else:
                    names = list(_expired(queues, Place(container, prefix), rows, now, deadline, whole=whole))
                done, all_done = _delete(queues, container, names, until, deadline)
                removed, listed = removed + done, True
                if not all_done:
                    last = prefix
                elif whole or not (container == records or _is_message(last)):
                    last = prefix + "~"  # never in the middle of the claims: all have to be known
                _STOPPED[queues] = number, last
                if time.monotonic() > listing:
                    return removed
        except StorageUnavailable:
            if not listed:
                raise
            return removed  # what was done is done; the next call says what is wrong, if it still is
        listed, marker = True, ""
        _STOPPED[queues] = (number + 1) % len(containers), ""
        if time.monotonic() > listing:
            return removed
    del _STOPPED[queues]
    return removed


def _is_message(name: str) -> bool:
    return name[_PREFIX:].startswith(MESSAGES)


def _groups(queues: Queues, container: str, marker: str, until: float) -> Iterator[tuple[list[Row], bool]]:
    """What is there after ``marker``, a queue (or a space of records) at a time; whether it is all that the queue has.

    It is not where time is up, nor where ``marker`` is one of the queue's messages. Its claims are there all the same.
    """
    cut = marker[:_PREFIX] if _is_message(marker) else ""
    rows = [row for page in _pages(queues, container, cut + CLAIMS, "", until) for row in page] if cut else []
    ended = True
    try:
        for page in _pages(queues, container, "", marker, until):
            for row in page:
                if rows and row.name[:_PREFIX] != rows[0].name[:_PREFIX]:
                    yield rows, rows[0].name[:_PREFIX] != cut
                    rows = []
                rows.append(row)
            ended = len(page) < LONGEST_PAGE
            if not ended and time.monotonic() > until:
                break
    except StorageUnavailable:
        if not rows:
            raise
    if rows:
        yield rows, ended and rows[0].name[:_PREFIX] != cut


def _pages(queues: Queues, container: str, prefix: str, marker: str, until: float) -> Iterator[list[Row]]:
    while True:
        page = queues.store.page(container, prefix, until, marker=marker, limit=LONGEST_PAGE)
        yield page
        if len(page) < LONGEST_PAGE:
            return
        marker = page[-1].name


def _expired(queues: Queues, place: Place, rows: list[Row], now: int, deadline: float, *, whole: bool) -> Iterator[str]:
    """The names of a queue's messages that have expired, and of its claims that speak of no message still there.

    ``whole``: all messages are among the ``rows``; else nothing is said of the claims.
    ``now``: the moment at which the listing of ``rows`` began, since it may have taken long.
    """
    claims = [row for row in rows if row.name.startswith(place.prefix + CLAIMS)]
    view = queues.view_of_rows(place, claims, now, deadline)
    alive = set()
    for row in rows:
        some_id = row.name.removeprefix(place.prefix + MESSAGES)
        name = message_name(some_id)
        if name is None:
            continue
        if view.over(some_id, name):
            yield row.name
        else:
            alive.add(some_id)
    if not whole:
        return
    for claim_id, claim in view.claims.items():
        forgotten = claim.choosing and claim.began + _FORGOTTEN < view.now
        ended = max(claim.began + claim.ttl, claim.ends) < view.now - OVER_AFTER
        words = last_words(view, claim_id) if ended else None
        # A listing may lack what is there.
        spent = words is not None and alive.isdisjoint(words) and not queues.find(place, view, words, deadline)
        if forgotten or spent:
            yield place.prefix + CLAIMS + claim_id


def _is_expired_record(row: Row, now: int) -> bool:
    """Of those in the listing: Swift removes the others in time."""
    content = unpack(row.content_type)
    if content is None or content.rest is None:
        return False
    try:
        expires = record_of(row.name, content.rest).expires
    except IncompatibleStorage:
        return False
    return bool(expires) and expires <= now


def _delete(queues: Queues, container: str, names: list[str], until: float, deadline: float) -> tuple[int, bool]:
    """How many were deleted; whether there was time for all of them."""
    done = 0
    for start in range(0, len(names), _STEP):
        if time.monotonic() > until:
            return done, False
        some = names[start : start + _STEP]
        calls = [partial(queues.store.delete, container, name, deadline) for name in some]
        done += sum(result is True for result in queues.store.at_once(calls, deadline))
    return done, True
