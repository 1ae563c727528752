"""The steps of a program on messages and claims. What a step does is source text: it runs as it would be pasted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

LONG: Final = "3600"
"""Seconds: what does not end within a program."""
_BODIES: Final = "[(m.body, m.claim_count) for m in {}]"


class Source(NamedTuple):
    """A statement, and an expression that shows what came of it."""

    do: str
    see: str = "None"


@dataclass
class Sofar:
    """What a program has done so far, as far as its text depends on it.

    ``names``: those of the model's side. ``now``: steps slept. ``timed``: whether anything may end within the program.
    ``posted``: messages. ``pages``: the listing that each belongs to.
    """

    names: Mapping[str, Any]
    now: int = 0
    timed: bool = False
    posted: int = 0
    pages: list[List] = field(default_factory=list)
    _available: set[int] = field(default_factory=set)
    _expiring: set[int] = field(default_factory=set)

    def life(self, steps: int | None, grace: int = 0) -> str:
        """A duration after which, and ``grace`` steps more, messages may expire."""
        if steps is not None:
            self._expiring.add(self.now + steps + grace)
        return self.lasting(steps)

    def lasting(self, steps: int | None) -> str:
        """A duration that ends in the middle of a step, long after every operation of the step has been done."""
        if steps is None:
            return LONG
        self.timed = True
        return f"{steps + 0.5} * STEP"

    def delay(self, steps: int | None) -> str:
        """A delay, prolonged where something else becomes available or may expire in that step: which comes first is a
        matter of milliseconds, of which the model knows nothing.
        """
        if steps is None:
            return "0"
        while self.now + steps in self._available | self._expiring:
            steps += 1
        self._available.add(self.now + steps)
        return self.lasting(steps)

    def one_of(self, name: str, number: int) -> str | None:
        """One of a list of the program's, ``ids[3]``, the lower the number the later; None while it is empty."""
        values = self.names[name]
        return f"{name}[{latest(values, number)}]" if values else None

    def some_of(self, name: str, numbers: tuple[int, ...]) -> str | None:
        """Several of a list of the program's."""
        found = [self.one_of(name, number) for number in numbers]
        return f"[{', '.join(filter(None, found))}]" if any(found) else None


def latest(values: Sequence[object], number: int) -> int:
    """An index of one of the values: of the last one for 0."""
    return len(values) - 1 - number % len(values)


class Step(ABC):
    """One step, with what it was drawn with."""

    @abstractmethod
    def source(self, sofar: Sofar) -> Source | None:
        """Its text; None if there is nothing yet that it could be done to."""


@dataclass(frozen=True)
class Sleep(Step):
    """Time passes."""

    steps: int

    def source(self, sofar: Sofar) -> Source:
        sofar.now += self.steps
        return Source(f"time.sleep({self.steps} * STEP)")


@dataclass(frozen=True)
class Post(Step):
    """Post a batch."""

    client: str
    queue: str
    count: int
    ttl: int | None
    delay: int | None
    dedup: str | None

    def source(self, sofar: Sofar) -> Source:
        delay = sofar.delay(self.delay)
        ttl = LONG if delay != "0" else sofar.life(self.ttl)
        options = f", ttl={ttl}" + (f", delay={delay}" if delay != "0" else "")
        dedup = f", dedup_id={self.dedup!r}" if self.dedup else ""
        first = sofar.posted
        sofar.posted += self.count
        messages = [f"NewMessage({number}{options}{dedup})" for number in range(first, sofar.posted)]
        return Source(
            f"ids += {self.client}.messages.post({self.queue}, [{', '.join(messages)}])",
            f"[ids.index(i) for i in ids[-{self.count}:]]",
        )


@dataclass(frozen=True)
class List(Step):
    """The first page of a listing, or one behind a page of an earlier one."""

    client: str
    queue: str
    limit: int
    after: int | None
    echo: bool
    claimed: bool
    delayed: bool

    def source(self, sofar: Sofar) -> Source | None:
        listing, marker = self, ""
        if self.after is not None:
            if not sofar.pages:
                return None
            number = latest(sofar.pages, self.after)
            listing, marker = sofar.pages[number], f", marker=pages[{number}].marker"
        sofar.pages.append(listing)
        options = "" if listing.echo else ", echo=False"
        options += ", include_claimed=True" if listing.claimed else ""
        options += ", include_delayed=True" if listing.delayed else ""
        page = f"{listing.client}.messages.list({listing.queue}, limit={self.limit}{marker}{options})"
        return Source(f"pages.append({page})", f"({_BODIES.format('pages[-1].items')}, pages[-1].more)")


@dataclass(frozen=True)
class Look(Step):
    """``get``, ``first``, or ``stats``."""

    client: str
    queue: str
    what: str
    number: int

    def source(self, sofar: Sofar) -> Source | None:
        if self.what == "stats":
            stats = f"s = {self.client}.messages.stats({self.queue})"
            ends = "[e and ({client}.messages.bulk_get({queue}, [e.id]) or [e])[0].body for e in (s.oldest, s.newest)]"
            counts = "s.free, s.claimed, s.delayed, s.total"
            return Source(stats, f"({counts}, {ends.format(client=self.client, queue=self.queue)})")
        if self.what == "first":
            newest = ", newest=True" if self.number % 2 else ""
            return Source(f"m = {self.client}.messages.first({self.queue}{newest})", "(m.body, m.claim_count)")
        message = sofar.one_of("ids", self.number)
        if message is None:
            return None
        known = "[c for c, claim in enumerate(claims) if claim.id and claim.id == m.claim_id]"
        return Source(
            f"m = {self.client}.messages.get({self.queue}, {message})", f"(m.body, m.claim_count, m.client_id, {known})"
        )


@dataclass(frozen=True)
class Remove(Step):
    """``delete``, ``bulk_delete`` or ``pop``."""

    client: str
    queue: str
    what: str
    messages: tuple[int, ...]
    claim: int | None

    def source(self, sofar: Sofar) -> Source | None:
        if self.what == "pop":
            popped = f"popped = {self.client}.messages.pop({self.queue}, limit={len(self.messages)})"
            return Source(popped, _BODIES.format("popped"))
        claim = None if self.claim is None else _claim(sofar, self.claim)
        if self.claim is not None and claim is None:
            return None
        if self.what == "delete":
            message = sofar.one_of("ids", self.messages[0])
            option = f", claim_id={claim}" if claim else ""
            return message and Source(f"{self.client}.messages.delete({self.queue}, {message}{option})")  # type: ignore[return-value]
        messages = sofar.some_of("ids", self.messages)
        option = f", claim_ids=[{claim}]" if claim else ""
        deletion = f"refused = {self.client}.messages.bulk_delete({self.queue}, {messages}{option})"
        return Source(deletion, "[ids.index(i) for i in refused]") if messages else None


@dataclass(frozen=True)
class Claim(Step):
    """Make a claim."""

    client: str
    queue: str
    limit: int
    ttl: int | None
    grace: int

    def source(self, sofar: Sofar) -> Source:
        ttl = sofar.life(self.ttl, self.grace)
        claim = f"{self.client}.claims.create({self.queue}, ttl={ttl}, grace={self.grace} * STEP, limit={self.limit})"
        return Source(f"claims.append({claim})", f"(claims[-1].id is None, {_BODIES.format('claims[-1].messages')})")


@dataclass(frozen=True)
class Held(Step):
    """Look at a claim, renew it, or release all of it or some."""

    client: str
    queue: str
    what: str
    claim: int
    ttl: int | None
    messages: tuple[int, ...]
    delay: int | None

    def source(self, sofar: Sofar) -> Source | None:
        claim = _claim(sofar, self.claim)
        if claim is None:
            return None
        if self.what == "get":
            return Source(f"c = {self.client}.claims.get({self.queue}, {claim})", _BODIES.format("c.messages"))
        if self.what == "update":
            ttl = sofar.life(self.ttl)
            return Source(f"{self.client}.claims.update({self.queue}, {claim}, ttl={ttl}, grace=0)")
        messages = sofar.some_of("ids", self.messages)
        options = f", message_ids={messages}" if messages else ""
        delay = sofar.delay(self.delay)
        options += f", delay={delay}" if delay != "0" else ""
        return Source(f"{self.client}.claims.delete({self.queue}, {claim}{options})")


@dataclass(frozen=True)
class Empty(Step):
    """Purge, delete or configure a queue, or collect garbage. ``tries``: of its messages, where it is configured."""

    client: str
    queue: str
    what: str
    tries: int

    def source(self, sofar: Sofar) -> Source:
        match self.what:
            case "gc":
                return Source(f"{self.client}.gc()")
            case "purge":
                return Source(f"{self.client}.messages.purge({self.queue})")
            case "delete":
                return Source(f"{self.client}.queues.delete({self.queue})")
        other = "y" if self.queue == "x" else "x"
        dead_letters = f'{{"_max_claim_count": {self.tries}, "_dead_letter_queue": {other}}}'
        return Source(f"{self.client}.queues.set_metadata({self.queue}, {dead_letters})")


def _claim(sofar: Sofar, number: int) -> str | None:
    """The id of a claim that was made, if it took anything."""
    claims = [index for index, claim in enumerate(sofar.names["claims"]) if claim.id is not None]
    return f"claims[{claims[latest(claims, number)]}].id" if claims else None
