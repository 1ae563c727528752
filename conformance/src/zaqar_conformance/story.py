"""What happened in one queue, told by message: what ``judge`` reads. What is not provable is left open."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from zaqar_conformance.history import Operation

SLACK = 3_000_000
"""Nanoseconds by which an end, counted in milliseconds, may be off."""
SECOND = 1_000_000_000
"""Nanoseconds."""
NEVER = 1 << 62
"""Later than any moment."""
MOST_SHOWN = 40
"""How many operations a finding shows."""


class Interval(NamedTuple):
    """From ``start`` to ``end``, both included."""

    start: int
    end: int


class Union:
    """The instants that lie in any of some intervals."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        merged: list[Interval] = []
        for interval in sorted(intervals):
            if merged and interval.start <= merged[-1].end:
                merged[-1] = Interval(merged[-1].start, max(merged[-1].end, interval.end))
            else:
                merged.append(interval)
        self._merged = merged
        self._starts = [interval.start for interval in merged]

    def covers(self, start: int, end: int) -> bool:
        """Whether every instant from ``start`` to ``end`` is in it."""
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and end <= self._merged[index].end


class Story:
    """What happened in one queue, by message."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = sorted(operations, key=lambda operation: operation.start)
        self.posts: dict[str, Operation] = {}
        self.order: dict[str, list[str]] = defaultdict(list)
        self.place: dict[str, int] = {}
        self.claims_of: dict[str, list[Operation]] = defaultdict(list)
        self.pops_of: dict[str, list[Operation]] = defaultdict(list)
        self.sightings: dict[str, list[Operation]] = defaultdict(list)
        self.takings: list[Operation] = []
        self.told_none: list[Operation] = []
        self.stats: list[Operation] = []
        self.unknown_pops: list[Operation] = []
        self.unknown_claims: list[Operation] = []
        self._unsure_posts: list[Operation] = []
        self._removals: dict[str, list[Operation]] = defaultdict(list)
        self._releases: dict[str, list[Operation]] = defaultdict(list)
        self._updates: dict[str, list[Operation]] = defaultdict(list)
        self._purges: list[Operation] = []
        self.moved: set[str] = set()
        """What a release with a delay may have given a later position."""
        self._active: dict[tuple[str, float], list[Interval]] = {}
        for operation in self.operations:
            self._take_in(operation)
        self._number()

    def _take_in(self, operation: Operation) -> None:
        if operation.outcome == "ok":
            for message in dict.fromkeys(messages_of(operation)):
                self.sightings[message].append(operation)
        name = operation.name
        if name in ("messages.post", "messages.pop", "claims.create"):
            self._take_in_traffic(operation)
        elif name == "claims.update":
            self._updates[operation.arguments["id"]].append(operation)
        elif operation.outcome == "refused":
            pass  # nothing happened
        elif name in ("messages.delete", "messages.bulk_delete"):
            for message in _deleted(operation):
                self._removals[message].append(operation)
        elif name == "messages.purge":
            self._purges.append(operation)
        elif name == "claims.delete":
            self._releases[operation.arguments["id"]].append(operation)
        elif name == "messages.stats" and operation.outcome == "ok":
            self.stats.append(operation)

    def _take_in_traffic(self, operation: Operation) -> None:
        name, known = operation.name, operation.outcome == "ok"
        if name == "messages.post":
            if known:
                self.posts.update(dict.fromkeys(operation.result, operation))
            elif operation.outcome == "unknown":
                self._unsure_posts.append(operation)
        elif name == "messages.pop":
            if known:
                self.takings.append(operation)
                for message in operation.result:
                    self.pops_of[message].append(operation)
            elif operation.outcome == "unknown":
                self.unknown_pops.append(operation)
        elif not known:
            if operation.outcome == "unknown":
                self.unknown_claims.append(operation)
        elif operation.result["id"] is None:
            self.told_none.append(operation)
        else:
            self.takings.append(operation)
            for message in dict.fromkeys(operation.result["messages"]):
                self.claims_of[message].append(operation)

    def _number(self) -> None:
        """Give each message its place among those that its producer posted one after the other, without delay."""
        ended: dict[str, int] = {}
        for releases in self._releases.values():
            for release in releases:
                if release.arguments["delay"] > 0:
                    self.moved.update(self._claim_members(release))
        for post in distinct(self.posts.values()):
            if post.arguments["delay"] > 0 or post.start < ended.get(post.client, 0):
                continue
            ended[post.client] = post.end
            for message in post.result:
                if message not in self.place and message not in self.moved:
                    self.place[message] = len(self.order[post.client])
                    self.order[post.client].append(message)

    def _claim_members(self, release: Operation) -> list[str]:
        named: list[str] | None = release.arguments["ids"]
        if named is not None:
            return named
        claim = release.arguments["id"]
        return [message for taking in self.takings if _claim_id(taking) == claim for message in messages_of(taking)]

    # --- One message ----------------------------------------------------------------------------------

    def held_until(self, claim: Operation, message: str, but: Operation | None = None) -> int:
        """Until when the claim provably held the message, if nobody took it away; ``but``: a removal not to count."""
        end = claim.start + _nanoseconds(claim.arguments["ttl"]) - SLACK
        ended = claim.end
        for update in self._updates[claim.result["id"]]:
            renewed = update.start + _nanoseconds(update.arguments["ttl"]) - SLACK
            if update.outcome == "refused":
                end = min(end, update.start)
            elif update.outcome == "unknown" or update.start < ended:
                end = min(end, renewed)
            else:
                end = renewed  # it was alive then, so it had been all the time
            ended = max(ended, update.end)
        cuts = [*self._releases_of(claim, message), *self._removals[message], *self._purges]
        return min([end, *(each.start for each in cuts if each is not but)])

    def over_by(self, claim: Operation, message: str, settle: float) -> int:
        """When the claim has surely ended for the message, which is active again if it is still there."""
        lengths = [(claim.end, claim.arguments["ttl"])]
        lengths += [
            (update.end, update.arguments["ttl"])
            for update in self._updates[claim.result["id"]]
            if update.outcome != "refused"
        ]
        over = max(end + _nanoseconds(ttl) + SLACK for end, ttl in lengths)
        for release in self._releases_of(claim, message):
            delay = _nanoseconds(release.arguments["delay"])
            if release.outcome == "ok" and not delay:
                over = min(over, release.end)
            elif delay:
                over = max(over, release.end + delay + SLACK)
        return over + _nanoseconds(settle)

    def active(self, message: str, settle: float = 0.0) -> list[Interval]:
        """When the message was provably active."""
        if (message, settle) not in self._active:
            self._active[message, settle] = list(self._find_active(message, settle))
        return self._active[message, settle]

    def _find_active(self, message: str, settle: float) -> Iterator[Interval]:
        post = self.posts[message]
        end = self._surely_there_until(message)
        taken = [
            Interval(claim.start, self.over_by(claim, message, settle)) for claim in self.claims_of.get(message, ())
        ]
        taken += [
            Interval(claim.start, claim.end + _nanoseconds(claim.arguments["ttl"] + settle) + SLACK)
            for claim in self.unknown_claims
        ]
        delay = post.arguments["delay"]
        start = post.end + _nanoseconds(settle) + (_nanoseconds(delay) + SLACK if delay else 0)
        for interval in sorted(taken):
            if start < min(interval.start, end):
                yield Interval(start, min(interval.start, end))
            start = max(start, interval.end)
        if start < end:
            yield Interval(start, end)

    def is_active(self, message: str, during: Operation, settle: float = 0.0) -> bool:
        """Whether the message was provably active during the whole operation."""
        return any(each.start <= during.start and during.end <= each.end for each in self.active(message, settle))

    def expires(self, message: str) -> int:
        """Before when the message cannot have expired."""
        post = self.posts[message]
        return post.start + _nanoseconds(post.arguments["ttl"]) - SLACK

    def removed(self, message: str) -> Operation | None:
        """The first operation to return that surely removed the message."""
        sure = [each for each in self._removals.get(message, ()) if each.outcome == "ok"]
        sure += self.pops_of.get(message, ())
        post = self.posts.get(message)
        if post is not None:
            sure += [purge for purge in self._purges if purge.outcome == "ok" and post.end < purge.start]
        return min(sure, key=lambda each: each.end, default=None)

    def sole_deletions(self, message: str) -> list[Operation]:
        """The deletion that removed the message, if there is one and nothing else can have removed it before."""
        others = [*self.pops_of.get(message, ()), *self._purges, *self.unknown_pops]
        return [
            deletion
            for deletion in self._removals.get(message, ())
            if deletion.outcome == "ok"
            and all(
                each is deletion or each.start > deletion.end for each in (*others, *self._removals.get(message, ()))
            )
        ]

    def may_be_removed(self, message: str) -> bool:
        """Whether anybody may have deleted, popped or purged it."""
        return bool(self._removals.get(message) or self.pops_of.get(message) or self._purges)

    def untouched(self, message: str, until: Operation) -> bool:
        """Whether no operation that began before ``until`` ended can have taken or removed the message."""
        touching = [
            *self._removals.get(message, ()),
            *self.pops_of.get(message, ()),
            *self.claims_of.get(message, ()),
            *self._purges,
            *self.unknown_pops,
            *self.unknown_claims,
        ]
        touched = any(each.start <= until.end and each is not until for each in touching)
        delayed = self.posts[message].arguments["delay"] > 0
        return not touched and not delayed and until.end < self.expires(message)

    def _releases_of(self, claim: Operation, message: str) -> list[Operation]:
        return [
            release
            for release in self._releases[claim.result["id"]]
            if release.arguments["ids"] is None or message in release.arguments["ids"]
        ]

    # --- Counts and listings ----------------------------------------------------------------------------

    def wrong_count(self, call: Operation) -> str | None:
        """Why these statistics cannot have been true at any instant of the call; None if they can."""
        counts = call.result
        parts = (counts["free"], counts["claimed"], counts["delayed"])
        if min(parts) < 0 or sum(parts) != counts["total"]:
            return f"statistics that do not add up: {counts}"
        for name, intervals in self._sure.items():
            least = sum(start < call.start and call.end < end for start, end in intervals)
            if counts[name] < least:
                return (
                    f"statistics say {name}={counts[name]}; during the whole call there were {least} at least: {counts}"
                )
        most = sum(start <= call.end and call.start <= end for start, end in self._possible)
        most += sum(post.arguments["count"] for post in self._unsure_posts if post.start <= call.end)
        if counts["total"] > most:
            return f"statistics say total={counts['total']}, there were never more than {most}: {counts}"
        return None

    @cached_property
    def _sure(self) -> dict[str, list[Interval]]:
        """When each message was provably there, active, and claimed."""
        return {
            "total": [Interval(post.end, self._surely_there_until(message)) for message, post in self.posts.items()],
            "free": [interval for message in self.posts for interval in self.active(message)],
            "claimed": [
                Interval(claim.end, self.held_until(claim, message))
                for message, claims in self.claims_of.items()
                for claim in claims
            ],
        }

    @cached_property
    def _possible(self) -> list[Interval]:
        """When each message may have been there."""
        gone = {message: self.removed(message) for message in self.posts}
        return [
            Interval(post.start, NEVER if (removal := gone[message]) is None else removal.end)
            for message, post in self.posts.items()
        ]

    def _surely_there_until(self, message: str) -> int:
        gone = [*self._removals[message], *self.pops_of.get(message, ()), *self._purges, *self.unknown_pops]
        first: int = min((operation.start for operation in gone), default=NEVER)
        return min(first, self.expires(message))

    @property
    def whole_looks(self) -> list[Operation]:
        """Operations that saw every message there was to see."""
        return [look for look in self.operations if look.outcome == "ok" and _is_whole(look)]

    @property
    def chains(self) -> list[list[Operation]]:
        """The listings, each the pages that followed each other by marker."""
        return chains([each for each in self.operations if each.name == "messages.list" and each.outcome == "ok"])

    def by_producer(self, messages: Iterable[str]) -> list[tuple[str, list[str]]]:
        """The messages, in this order, of each producer; those without a place among its posts are left out."""
        groups: dict[str, list[str]] = defaultdict(list)
        for message in dict.fromkeys(messages):
            if message in self.place:
                groups[self.posts[message].client].append(message)
        return list(groups.items())

    def posts_of(self, messages: Iterable[str]) -> tuple[Operation, ...]:
        """The posts of these messages, a few of many."""
        return tuple(distinct(self.posts[message] for message in messages)[:MOST_SHOWN])

    def about(self, message: str, *others: Operation) -> tuple[Operation, ...]:
        """``others`` and what else was done to the message, by start: a few of many."""
        claims = self.claims_of.get(message, ())
        touching = [
            *([self.posts[message]] if message in self.posts else []),
            *claims,
            *(each for claim in claims for each in self._updates[claim.result["id"]]),
            *(each for claim in claims for each in self._releases_of(claim, message)),
            *self._removals.get(message, ()),
            *self.pops_of.get(message, ()),
        ]
        return tuple(sorted(distinct((*others, *touching))[:MOST_SHOWN], key=lambda operation: operation.start))


def stories(history: Iterable[Operation]) -> list[Story]:
    """One for each queue."""
    queues: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        if operation.name.startswith(("messages.", "claims.")):
            queues[operation.queue].append(operation)
    return [Story(operations) for operations in queues.values()]


def chains(pages: Iterable[Operation]) -> list[list[Operation]]:
    """Pages, by start, joined to listings: each client goes on from the marker it was given last, or starts anew."""
    chains: list[list[Operation]] = []
    last: dict[str, list[Operation]] = {}
    for page in pages:
        chain = last.get(page.client)
        if page.arguments["marker"] is None or chain is None or chain[-1].result["marker"] != page.arguments["marker"]:
            chain = last[page.client] = []
            chains.append(chain)
        chain.append(page)
    return chains


def distinct(operations: Iterable[Operation]) -> list[Operation]:
    """Each once. (Operations hold dictionaries, so they are told apart by identity.)"""
    return list({id(operation): operation for operation in operations}.values())


def messages_of(operation: Operation) -> list[str]:
    """The messages that the operation gave, whole or by id."""
    ids: list[str] = []
    if operation.outcome == "ok":
        if operation.name == "messages.list":
            ids = operation.result["ids"]
        elif operation.name == "claims.create":
            ids = operation.result["messages"]
        elif operation.name in ("messages.get", "messages.pop", "claims.get"):
            ids = operation.result
        elif operation.name == "messages.first" and operation.result is not None:
            ids = [operation.result]
    return ids


def _deleted(operation: Operation) -> list[str]:
    """What a deletion that was not refused deleted, or may have."""
    if operation.name == "messages.delete":
        return [operation.arguments["id"]]
    refused = operation.result or ()
    return [message for message in operation.arguments["ids"] if message not in refused]


def claims_named(deletion: Operation) -> list[str]:
    """The claims that a deletion named."""
    if deletion.name == "messages.delete":
        return [deletion.arguments["claim"]]
    return list(deletion.arguments["claims"] or ())


def _claim_id(taking: Operation) -> str | None:
    found: str | None = taking.result["id"] if taking.name == "claims.create" else None
    return found


def _is_whole(look: Operation) -> bool:
    if look.name == "messages.list":
        return look.arguments["marker"] is None and look.result["more"] is False
    if look.name in ("messages.pop", "claims.create"):
        limit: int = look.arguments["limit"]
        return len(messages_of(look)) < limit
    return False


def _nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)
