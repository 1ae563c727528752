"""What a queue holds, put together from listings: its claims, and its messages in their order.

All that happens to a message after its post is said by the claims that took it: how often it was claimed, how long it
lives at least, whether it was released with a delay. Messages are written once and deleted, claims are written by their
holders alone, and where several speak of one message the one that claimed it last is right. So no write ever needs to
be atomic with another, and none undoes another client's.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from zaqar_core.contract import QueueKey, StoredMessage
from zaqar_core.errors import StorageError
from zaqar_swift.errors import not_ours
from zaqar_swift.names import (
    CLAIMS,
    MESSAGES,
    Clock,
    MessageName,
    container_number,
    first_id,
    is_claim_id,
    message_name,
    queue_prefix,
)
from zaqar_swift.packing import (
    ClaimObject,
    Entry,
    Head,
    Sent,
    State,
    claim_rest,
    content_of,
    message_head,
    message_rest,
    pack_claim,
    understood,
    unpack_state,
)
from zaqar_swift.store import LONGEST_PAGE, Row, Store

MARGIN: Final = 3600
"""Seconds for which Swift keeps a message beyond its end, so that most claims need not ask it to keep one longer."""

OVER_AFTER: Final = 10_000_000
"""Microseconds after its end before a message is deleted; it is not shown from the end on."""
_LONGEST_LEASE: Final = 2 * 24 * 3600
"""Seconds: no claim with its grace is longer."""
_FIRST_PAGE: Final = 64
_SWEPT_IN_PASSING: Final = 16
_FETCHED_ONE_BY_ONE: Final = 2


class Place(NamedTuple):
    """Where a queue's objects are."""

    container: str
    prefix: str


class Position(NamedTuple):
    """Where a message stands in its queue, in microseconds (see ``Clock``), then by its id."""

    at: int
    id: str


START: Final = Position(0, "")


@dataclass(frozen=True, slots=True)
class Item:
    """A message in a listing. ``position``: where it stands now. ``row``: its object."""

    position: Position
    id: str
    name: MessageName
    row: Row


@dataclass(slots=True)
class View:
    """What the claims of a queue said at one moment, ``now`` (microseconds)."""

    now: int
    claims: dict[str, ClaimObject] = field(default_factory=dict)
    latest: dict[str, tuple[str, Entry]] = field(default_factory=dict)
    """Of each message that was ever claimed, the claim that took it last and what it says."""
    states: dict[str, State] = field(default_factory=dict)
    """What a coordinator was asked: of these messages it alone decides."""
    known: dict[str, bytes] = field(default_factory=dict)
    """What it answered, b"" where it knew nothing."""

    def copy(self) -> View:
        """Another one, to be told what the coordinator says."""
        return View(self.now, dict(self.claims), dict(self.latest), dict(self.states), dict(self.known))

    def told(self, message_id: str, answer: bytes) -> None:
        """The coordinator says so."""
        self.known[message_id] = answer
        self.states.pop(message_id, None)
        if not answer:
            return
        state, entry = understood(message_id, unpack_state, message_id, answer), self.entry(message_id)
        if entry is not None and entry.times > state.entry.times and not state.gone:
            return  # it is told before Swift: so it has forgotten, as a replica does that was promoted too early
        self.states[message_id] = state
        self.latest[message_id] = (state.claim_id, merged(state.entry, entry))
        claim = self.claims.get(state.claim_id)
        if claim is not None and state.entry.held:
            self.claims[state.claim_id] = claim._replace(ends=state.ends)

    def gone(self, message_id: str) -> bool:
        """Whether the coordinator says that it was deleted or popped."""
        state = self.states.get(message_id)
        return state is not None and state.gone

    def choosing(self) -> list[str]:
        """The claims whose messages are not chosen yet, by id."""
        return sorted(claim_id for claim_id, claim in self.claims.items() if claim.choosing)

    def live(self, claim_id: str) -> ClaimObject | None:
        """The claim, unless it has ended."""
        claim = self.claims.get(claim_id)
        return claim if claim is not None and not claim.choosing and claim.ends > self.now else None

    def holder(self, message_id: str) -> str | None:
        """The live claim that holds the message, or None."""
        claim_id, entry = self.latest.get(message_id, ("", None))
        if entry is None or not entry.held:
            return None
        state = self.states.get(message_id)
        return claim_id if (state.ends > self.now if state else self.live(claim_id)) else None

    def held(self, claim_id: str) -> list[Entry]:
        """What the claim holds, as far as the messages are still there."""
        claim = self.live(claim_id)
        entries = claim.entries if claim else ()
        return [entry for entry in entries if self.holder(entry.id) == claim_id]

    def lives_until(self, message_id: str, name: MessageName) -> int:
        entry = self.entry(message_id)
        return max(name.expires, entry.lives_until) if entry else name.expires

    def over(self, message_id: str, name: MessageName) -> bool:
        """Whether it ended so long ago that no claim made in time can still be about to be written."""
        return self.lives_until(message_id, name) <= self.now - OVER_AFTER

    def entry(self, message_id: str) -> Entry | None:
        """What was last said of the message."""
        found = self.latest.get(message_id)
        return found[1] if found else None

    def position(self, message_id: str, name: MessageName) -> Position:
        entry = self.entry(message_id)
        return Position(entry.moved_to if entry and entry.moved_at else name.position, message_id)

    def place_of(self, message_id: str) -> Position:
        """Where the message stands, which may be gone."""
        name = message_name(message_id)
        return START if name is None else self.position(message_id, name)

    def delayed(self, item: Item) -> bool:
        """Whether it is not available yet. What was posted without a delay always is, whatever clocks say."""
        entry = self.entry(item.id)
        if entry is not None and entry.moved_at:
            return (entry.available or entry.moved_to) > self.now
        if not item.name.delayed or item.name.position <= self.now:
            return False  # positions are never behind the time
        available = head_of(item).available
        return available is None or available > self.now


class Queues:
    """Reads what queues hold."""

    def __init__(self, store: Store, *, prefix: str, containers: int, inline_bytes: int) -> None:
        self.store = store
        self.clock = Clock()
        self.prefix = prefix
        self.containers = containers
        self.inline_bytes = inline_bytes

    def place(self, queue: QueueKey) -> Place:
        return Place(self.container(container_number(queue, self.containers)), queue_prefix(queue))

    def container(self, number: int) -> str:
        return f"{self.prefix}-{number:04d}"

    def view(self, place: Place, deadline: float, *, claim_ids: Iterable[str] = ()) -> View:
        """What the claims say. One request, unless there are many claims, or large ones.

        ``claim_ids``: those that matter. If they do not live by the listing, which may be late, they are asked for.
        """
        view = self._listed_view(place, deadline)
        doubtful = [some_id for some_id in claim_ids if is_claim_id(some_id) and not view.live(some_id)]
        found = self._claims(place, doubtful, deadline)
        return view_of(view.now, {**view.claims, **found}) if found else view

    def _listed_view(self, place: Place, deadline: float) -> View:
        rows: list[Row] = []
        prefix = place.prefix + CLAIMS
        while True:
            page = self.store.page(place.container, prefix, deadline, marker=rows[-1].name if rows else "")
            rows += page
            if len(page) < LONGEST_PAGE:
                return self.view_of_rows(place, rows, self.clock.now(), deadline)

    def view_and_scan(self, place: Place, deadline: float, *, expected: int, page: int = 0) -> tuple[View, Scan]:
        """What the claims say, and the messages from the first on. One request, where ``expected`` messages do.

        ``page``: see ``Scan``.
        """
        rows: list[Row] = []
        limit, whole = min(LONGEST_PAGE, _FIRST_PAGE + 2 * expected), False
        messages = place.prefix + MESSAGES
        while not whole and (not rows or rows[-1].name < messages):
            marker = rows[-1].name if rows else ""
            found = self.store.page(place.container, place.prefix, deadline, marker=marker, limit=limit)
            rows += found
            limit, whole = LONGEST_PAGE, len(found) < limit
        claims = [row for row in rows if row.name < messages]
        view = self.view_of_rows(place, claims, self.clock.now(), deadline)
        scan = Scan(self, place, view, deadline, begun=rows[len(claims) :], whole=whole, page=page)
        return view, scan

    def find(self, place: Place, view: View, message_ids: Iterable[str], deadline: float) -> dict[str, Item]:
        """Those of the messages that are there and have not expired, whatever their state."""
        wanted = {}
        for some_id in message_ids:
            name = message_name(some_id)
            if name is not None:
                wanted[some_id] = name
        rows = self._rows(place, sorted(wanted), deadline)
        found = {}
        for some_id, row in rows.items():
            name = wanted[some_id]
            if view.lives_until(some_id, name) > view.now:
                found[some_id] = Item(view.position(some_id, name), some_id, name, row)
        return found

    def _rows(self, place: Place, ids: Sequence[str], deadline: float) -> dict[str, Row]:
        """Those of the objects that are there: listed, if they are many, and what a listing may lack is asked for."""
        prefix = place.prefix + MESSAGES
        rows: dict[str, Row] = {}
        left = list(ids)
        if len(ids) > _FETCHED_ONE_BY_ONE:
            limit = min(LONGEST_PAGE, _FIRST_PAGE + 2 * len(ids))
            before = prefix + ids[0][:-1]
            page = self.store.page(
                place.container, prefix, deadline, marker=before, end=prefix + ids[-1] + "~", limit=limit
            )
            listed = {row.name.removeprefix(prefix): row for row in page}
            rows = {some_id: listed[some_id] for some_id in ids if some_id in listed}
            left = [some_id for some_id in ids if some_id not in rows]
        calls = [partial(self.store.get, place.container, prefix + some_id, deadline) for some_id in left]
        for some_id, found in zip(left, self.store.all_of(calls, deadline), strict=True):
            if found is not None:
                rows[some_id] = Row(prefix + some_id, found.content_type, found.data)
        return rows

    def contents(self, place: Place, items: Sequence[Item], deadline: float) -> dict[str, Sent]:
        """The messages themselves, those that are gone left out. Those too large for a listing are fetched."""
        sent: dict[str, Sent] = {}
        missing: list[Item] = []
        for item in items:
            content = content_of(item.row.name, item.row.content_type)
            if content.rest is not None:
                sent[item.id] = understood(item.row.name, message_rest, content.head, content.rest)
            elif item.row.data is not None:
                sent[item.id] = understood(item.row.name, message_rest, content.head, item.row.data)
            else:
                missing.append(item)
        calls = [partial(self.store.get, place.container, item.row.name, deadline) for item in missing]
        for item, found in zip(missing, self.store.all_of(calls, deadline), strict=True):
            if found is not None:
                content = content_of(item.row.name, found.content_type)
                sent[item.id] = understood(item.row.name, message_rest, content.head, found.data)
        return sent

    def messages(self, place: Place, view: View, items: Sequence[Item], deadline: float) -> list[StoredMessage]:
        """The messages as the contract shows them, those that are gone left out."""
        contents = self.contents(place, items, deadline)
        return [stored(view, item, contents[item.id]) for item in items if item.id in contents]

    def write_claim(self, place: Place, claim_id: str, claim: ClaimObject, deadline: float) -> None:
        """Store a claim of the caller's own. Once it says what it took, it stays for as long as that may."""
        kept = max((entry.kept_until for entry in claim.entries), default=0)
        self.store.put(
            place.container,
            place.prefix + CLAIMS + claim_id,
            pack_claim(claim),
            deadline,
            delete_at=max(kept, claim.ends // 1_000_000) + MARGIN if kept else 0,
        )

    def drop_claim(self, place: Place, claim_id: str, deadline: float) -> None:
        """Delete a claim that holds nothing. If that fails, another claimer sees that it does not, and deletes it."""
        with suppress(StorageError):
            self.delete_claim(place, claim_id, deadline)

    def delete_claim(self, place: Place, claim_id: str, deadline: float) -> None:
        self.store.delete(place.container, place.prefix + CLAIMS + claim_id, deadline)

    def keep_longer(self, place: Place, entries: Sequence[Entry], deadline: float) -> list[Entry]:
        """The entries, those messages kept for longer that Swift would remove before they may expire.

        Those that are gone are left out. How long depends on the moment alone, so of two concurrent calls the later one
        asks for more, and neither shortens what the other got.
        """
        until = self.clock.now() // 1_000_000 + _LONGEST_LEASE + 2 * MARGIN
        short = [entry for entry in entries if entry.lives_until > entry.kept_until * 1_000_000]
        prefix = place.prefix + MESSAGES
        calls = [partial(self.store.keep, place.container, prefix + entry.id, until, deadline) for entry in short]
        there = dict(zip((entry.id for entry in short), self.store.all_of(calls, deadline), strict=True))
        return [
            entry._replace(kept_until=until) if there.get(entry.id) else entry
            for entry in entries
            if there.get(entry.id, True)
        ]

    def delete_messages(self, place: Place, message_ids: Sequence[str], deadline: float) -> list[str]:
        """Delete the objects, in parallel; those that were there."""
        prefix = place.prefix + MESSAGES
        calls = [partial(self.store.delete, place.container, prefix + some_id, deadline) for some_id in message_ids]
        there = self.store.all_done(calls, deadline)
        return [some_id for some_id, was in zip(message_ids, there, strict=True) if was]

    def sweep(self, place: Place, expired: Sequence[str], deadline: float) -> None:
        """Delete some of what has expired. Failures do no harm."""
        prefix = place.prefix + MESSAGES
        some = expired[:_SWEPT_IN_PASSING]
        calls = [partial(self.store.delete, place.container, prefix + some_id, deadline) for some_id in some]
        if calls:
            self.store.at_once(calls, deadline)

    def view_of_rows(self, place: Place, rows: Sequence[Row], now: int, deadline: float) -> View:
        """What the claims listed say, at the moment ``now``."""
        prefix = place.prefix + CLAIMS
        claims = {}
        large = []
        for row in rows:
            claim_id = row.name.removeprefix(prefix)
            rest = content_of(row.name, row.content_type).rest
            if rest is None:
                large.append(claim_id)
            else:
                claims[claim_id] = understood(row.name, claim_rest, rest)
        return view_of(now, claims | self._claims(place, large, deadline))

    def _claims(self, place: Place, claim_ids: Sequence[str], deadline: float) -> dict[str, ClaimObject]:
        """Those of the claims that are there, whatever a listing says."""
        names = [place.prefix + CLAIMS + claim_id for claim_id in claim_ids]
        calls = [partial(self.store.get, place.container, name, deadline, newest=True) for name in names]
        claims = {}
        for claim_id, name, found in zip(claim_ids, names, self.store.all_of(calls, deadline), strict=True):
            if found is not None:
                rest = content_of(name, found.content_type).rest
                claims[claim_id] = understood(name, claim_rest, found.data if rest is None else rest)
        return claims


class Scan:
    """The messages of a queue in their order, from a position on: listed page by page as they are asked for."""

    def __init__(
        self,
        queues: Queues,
        place: Place,
        view: View,
        deadline: float,
        *,
        after: Position = START,
        begun: Sequence[Row] = (),
        whole: bool = False,
        page: int = 0,
    ) -> None:
        """``page``: how many are listed first; then twice as many each time, so that none takes longer than all before.

        0: as many as Swift lists.
        """
        self.expired: list[str] = []
        """Of the messages passed, those to delete: their life has been over for a while."""
        self.seen_to = ""
        """The last id that was passed where it was posted; "~": all were."""
        self.seen: set[str] = set()
        self.whole = whole
        """Whether all messages have been listed."""
        self.stop_at = float("inf")
        """The moment from which no further page is listed: the scan ends early."""
        self._queues = queues
        self._place = place
        self._view = view
        self._deadline = deadline
        self._after = after
        self._begun = begun
        self._page = page or LONGEST_PAGE

    def __iter__(self) -> Iterator[Item]:
        """Those that have not expired, whatever their state."""
        moved: list[tuple[Position, Item]] = []
        for item in self._moved_before():
            heapq.heappush(moved, (item.position, item))
        for item in self._posted():
            while moved and moved[0][0] < Position(item.name.position, item.id):
                yield heapq.heappop(moved)[1]
            if item.position.at != item.name.position:
                if item.position > self._after:
                    heapq.heappush(moved, (item.position, item))
            elif item.position > self._after:
                yield item
        if not self.whole:
            return  # what is not listed may come before those that were moved
        self.seen_to = "~"
        while moved:
            yield heapq.heappop(moved)[1]

    def _posted(self) -> Iterator[Item]:
        """In the order in which they were posted to become available."""
        for row in self._rows():
            some_id = row.name.removeprefix(self._place.prefix + MESSAGES)
            name = message_name(some_id)
            if name is None:
                raise not_ours(row.name)
            self.seen_to = some_id
            self.seen.add(some_id)
            if self._view.lives_until(some_id, name) <= self._view.now:
                if self._view.over(some_id, name):
                    self.expired.append(some_id)
                continue
            yield Item(self._view.position(some_id, name), some_id, name, row)

    def _rows(self) -> Iterator[Row]:
        prefix = self._place.prefix + MESSAGES
        yield from self._begun
        marker = self._begun[-1].name if self._begun else prefix + lowest_id(self._after)
        while not self.whole and time.monotonic() < self.stop_at:
            page = self._queues.store.page(
                self._place.container, prefix, self._deadline, marker=marker, limit=self._page
            )
            yield from page
            self.whole = len(page) < self._page
            marker = page[-1].name if page else marker
            self._page = min(LONGEST_PAGE, 2 * self._page)

    def _moved_before(self) -> list[Item]:
        """Those that were posted before the position where the scan begins, and moved behind it."""
        if self._after == START:
            return []
        begin = lowest_id(self._after)
        ids = [
            some_id
            for some_id, (_, entry) in self._view.latest.items()
            if entry.moved_at and some_id <= begin and Position(entry.moved_to, some_id) > self._after
        ]
        return list(self._queues.find(self._place, self._view, ids, self._deadline).values()) if ids else []


def lowest_id(position: Position) -> str:
    """The id after which messages posted to become available at or after the position are listed."""
    if position == START:
        return ""
    name = message_name(position.id)
    if name is not None and name.position == position.at:
        return position.id
    return first_id(position.at)


def view_of(now: int, claims: Mapping[str, ClaimObject]) -> View:
    """Puts together what the claims say."""
    view = View(now, dict(claims))
    said: dict[str, list[tuple[int, str, Entry]]] = defaultdict(list)
    for claim_id, claim in claims.items():
        for entry in claim.entries:
            said[entry.id].append((entry.times, claim_id, entry))
    for message_id, words in said.items():
        (_, latest_id, latest), *others = sorted(words, reverse=True)
        for _, _, entry in others:
            latest = merged(latest, entry)
        view.latest[message_id] = (latest_id, latest)
    return view


def merged(latest: Entry, other: Entry | None) -> Entry:
    """What the later claim says, and of what an earlier one says what cannot be taken back.

    Later is what took the message for the later try, not what has the later time: a clock may have been wrong.
    """
    if other is None:
        return latest
    mover = latest if latest.moved_at else other
    return latest._replace(
        lives_until=max(latest.lives_until, other.lives_until),
        kept_until=max(latest.kept_until, other.kept_until),
        moved_at=mover.moved_at,
        moved_to=mover.moved_to,
        available=mover.available,
    )


def stored(view: View, item: Item, sent: Sent) -> StoredMessage:
    """A message as the contract shows it."""
    entry = view.entry(item.id)
    return StoredMessage(
        id=item.id,
        body=sent.body,
        ttl=(view.lives_until(item.id, item.name) - sent.posted) / 1_000_000,
        age=max(0, view.now - sent.posted) / 1_000_000,
        client_id=sent.client_id,
        claim_id=view.holder(item.id),
        claim_count=entry.times if entry else 0,
        headers=sent.headers,
    )


def last_words(view: View, claim_id: str) -> list[str] | None:
    """The messages about which only this claim says something that matters while they exist.

    None while it lives, or its claimer is choosing. It may be dropped if none of these messages is there.
    """
    claim = view.claims[claim_id]
    if claim.choosing or claim.ends > view.now:
        return None
    words = []
    for entry in claim.entries:
        name = message_name(entry.id)
        if name is None or view.lives_until(entry.id, name) <= view.now:
            continue
        latest_id = view.latest[entry.id][0]
        said = next((each for each in view.claims[latest_id].entries if each.id == entry.id), None)
        if said is None or latest_id == claim_id or merged(said, entry) != said:
            words.append(entry.id)
    return words


def kept_until(expires: int) -> int:
    """The moment, in seconds, before which Swift does not remove what was posted to expire at that of microseconds."""
    return -(-expires // 1_000_000) + MARGIN


def head_of(item: Item) -> Head:
    """What the listing says of a message."""
    return understood(item.row.name, message_head, content_of(item.row.name, item.row.content_type).head)
