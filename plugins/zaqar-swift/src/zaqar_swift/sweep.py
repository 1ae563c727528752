"""Removes what has expired, from queues that nobody uses too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from typing import Final

from zaqar_swift.names import CLAIMS, MESSAGES, message_name
from zaqar_swift.packing import record_rest, unpack
from zaqar_swift.queues import OVER_AFTER, Place, Queues, last_words
from zaqar_swift.store import LONGEST_PAGE, Row
from zaqar_swift.turns import TURNS

_STEP: Final = 200
_FORGOTTEN: Final = 3600_000_000
"""Microseconds after which a claim that never chose is nobody's."""


def everything(queues: Queues, records: str, deadline: float) -> int:
    """Delete what has expired, as far as there is time for it; how many objects. None while another thread does so."""
    with TURNS.at_once((queues.store.where, records)) as mine:
        return _everything(queues, records, deadline) if mine else 0


def _everything(queues: Queues, records: str, deadline: float) -> int:
    removed = 0
    until = time.monotonic() + 0.8 * (deadline - time.monotonic())
    for number in range(queues.containers):
        container, now = queues.container(number), queues.clock.now()
        for prefix, rows in groupby(_rows(queues, container, deadline), key=lambda row: row.name[:33]):
            names = list(_expired(queues, Place(container, prefix), list(rows), now, deadline))
            removed += _delete(queues, container, names, until, deadline)
            if time.monotonic() > until:
                return removed
    names = [row.name for row in _rows(queues, records, deadline) if _is_expired_record(row, queues.clock.now())]
    return removed + _delete(queues, records, names, until, deadline)


def _rows(queues: Queues, container: str, deadline: float) -> Iterator[Row]:
    marker = ""
    while True:
        page = queues.store.page(container, "", deadline, marker=marker)
        yield from page
        if len(page) < LONGEST_PAGE:
            return
        marker = page[-1].name


def _expired(queues: Queues, place: Place, rows: list[Row], now: int, deadline: float) -> Iterator[str]:
    """The names of a queue's messages that have expired, and of its claims that speak of no message still there.

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
    expires = record_rest(content.rest).expires
    return bool(expires) and expires <= now


def _delete(queues: Queues, container: str, names: list[str], until: float, deadline: float) -> int:
    done = 0
    for start in range(0, len(names), _STEP):
        if time.monotonic() > until:
            break
        some = names[start : start + _STEP]
        calls = [partial(queues.store.delete, container, name, deadline) for name in some]
        done += sum(result is True for result in queues.store.at_once(calls, deadline))
    return done
