"""Judges a history afterwards: what many clients saw, and could not have seen of a backend that keeps its promises.

Every function takes operations in any order and returns its findings; none means nothing wrong can be shown. Only
what is provable is found: an operation takes effect at some instant between its start and its end, one whose outcome
is "unknown" may have taken effect or not, and a lease's end is known only as far as its call's start and end allow.
``settle`` is the driver's ``settle_time`` in seconds: within it a reader need not see what another client wrote.

The vocabulary of a history, written by ``recorder.Recorder``. ``queue`` is the queue's name, unless said otherwise;
times are seconds; an operation that is not "ok" has no result.

=====================  ===============================================  ==================================
name                   arguments                                        result
=====================  ===============================================  ==================================
messages.post          count, ttl, delay                                [id], in the order given
messages.list          marker, limit, include_claimed, include_delayed  {ids: [id], marker, more}
messages.get           ids                                              [id], those found
messages.first         newest                                           id or null
messages.delete        id, claim (or null)                              null; "refused" if it was
messages.bulk_delete   ids, claims (or null)                            [id], those refused
messages.pop           limit                                            [id]
messages.stats                                                          {free, claimed, delayed, total}
messages.purge                                                          null
claims.create          ttl, grace, limit                                {id (or null), messages: [id]}
claims.get             id                                               [id], those it holds
claims.update          id, ttl, grace                                   null
claims.delete          id, ids (null: all), delay                       null
queues.create                                                           whether it was created
queues.delete                                                           null
queues.list            marker, limit (``queue`` is "")                  {names: [name], marker, more}
records.insert         (``queue`` is the key)                           version or null
records.replace        version                                          new version or null
records.delete         version (or null)                                whether it was deleted
=====================  ===============================================  ==================================
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from zaqar_conformance.check import Violation
from zaqar_conformance.history import Operation
from zaqar_conformance.story import NEVER, SECOND, Story, Union, chains, claims_named, distinct, messages_of, stories


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen and could not be, and the operations that show it.

    ``offending``: those of them that cannot both be right; the others say how it came to that. None: they all are.
    """

    what: str
    operations: tuple[Operation, ...]
    offending: tuple[Operation, ...] = ()


def _about(story: Story, what: str, message: str, *offending: Operation) -> Finding:
    """A finding about one message, with what else was done to it."""
    return Finding(what, story.about(message, *offending), offending)


def demand(requirement: str, findings: Sequence[Finding]) -> None:
    """Raise ``Violation`` with the first finding, if there is one; it says how many there are."""
    if findings:
        first = findings[0]
        more = f" (and {len(findings) - 1} more like it)" if len(findings) > 1 else ""
        raise Violation(requirement, f"{first.what}{more}", first.operations, first.offending)


# --- Claims and pops ----------------------------------------------------------------------------------


def claimed_twice(history: Iterable[Operation]) -> list[Finding]:
    """Messages that two live claims held at once, or that one claim was given twice.

    A lease is provable until the earliest of its ttl counted from the start of the call that set it, the start of its
    release, and the start of a deletion. Two calls that took one message conflict if in either order the second
    would have taken it from a live lease.
    """
    findings = []
    for story in stories(history):
        for message, claims in story.claims_of.items():
            findings += [
                Finding(f"a claim was given message {message} twice", (claim,))
                for claim in claims
                if claim.result["messages"].count(message) > 1
            ]
            held = [(claim, story.held_until(claim, message)) for claim in claims]
            for index, (one, one_end) in enumerate(held):
                for other, other_end in held[index + 1 :]:
                    if one is not other and other.end <= one_end and one.end <= other_end:
                        what = f"message {message} was in two live claims at once"
                        findings.append(_about(story, what, message, one, other))
    return findings


def claimed_and_popped(history: Iterable[Operation]) -> list[Finding]:
    """Messages that were popped while a live claim held them, or claimed after they were popped."""
    findings = []
    for story in stories(history):
        for message, pops in story.pops_of.items():
            for claim in story.claims_of.get(message, ()):
                for pop in pops:
                    if pop.end <= story.held_until(claim, message):
                        what = f"message {message} was in a claim and in a pop"
                        findings.append(_about(story, what, message, claim, pop))
    return findings


def popped_twice(history: Iterable[Operation]) -> list[Finding]:
    """Messages that two pops returned, or one pop twice."""
    return [
        Finding(f"message {message} was popped {len(pops)} times", tuple(pops))
        for story in stories(history)
        for message, pops in story.pops_of.items()
        if len(pops) > 1
    ]


def deleted_from_claims(history: Iterable[Operation]) -> list[Finding]:
    """Messages that a deletion naming no claim, or another, removed while a claim provably held them.

    A deletion of what another operation may have removed before it is right, whatever it names.
    """
    findings = []
    for story in stories(history):
        for message, claims in story.claims_of.items():
            for deletion in story.sole_deletions(message):
                for claim in claims:
                    if claim.result["id"] in claims_named(deletion):
                        continue
                    if deletion.end <= story.held_until(claim, message, but=deletion):
                        what = f"message {message} was deleted by a client that did not hold it, while a claim did"
                        findings.append(_about(story, what, message, claim, deletion))
    return findings


def told_none(history: Iterable[Operation], settle: float = 0.0) -> list[Finding]:
    """Claims that were told None although at every instant of the call some message was provably active."""
    findings = []
    for story in stories(history):
        active = Union(interval for message in story.posts for interval in story.active(message, settle))
        for claim in story.told_none:
            if active.covers(claim.start, claim.end):
                message = next((each for each in story.posts if story.is_active(each, claim, settle)), None)
                what = "a claim was told None while messages were active"
                findings.append(
                    Finding(what, (claim,))
                    if message is None
                    else _about(story, f"{what}: {message} was throughout", message, claim)
                )
    return findings


def claimed_out_of_order(history: Iterable[Operation], settle: float = 0.0) -> list[Finding]:
    """Messages taken by a claim or pop before an earlier one of their producer that was active during the whole call.

    Also claims and pops that give one producer's messages in another order than they were posted in.
    """
    findings = []
    for story in stories(history):
        for taking in story.takings:
            for producer, taken in story.by_producer(messages_of(taking)):
                places = [story.place[message] for message in taken]
                if places != sorted(places):
                    what = f"one call gave the messages of {producer} out of post order"
                    findings.append(Finding(what, (taking, *story.posts_of(taken)), (taking,)))
                passed = story.order[producer][: max(places)]
                skipped = next((each for each in passed if story.is_active(each, taking, settle)), None)
                if skipped is not None:
                    last = story.order[producer][max(places)]
                    what = f"{last} of {producer} was taken while {skipped}, which it posted before, was active"
                    findings.append(Finding(what, story.about(skipped, taking, *story.posts_of([last])), (taking,)))
    return findings


# --- What is there, and what is not -------------------------------------------------------------------


def lost(history: Iterable[Operation], found: Collection[str], at: int | None = None) -> list[Finding]:
    """Acknowledged messages that nobody can have deleted or popped, that are not expired, and are not ``found``.

    ``found``: the ids of all messages at the end, whatever their state. ``at``: when that look ended, in nanoseconds;
    None: at the end of the history.
    """
    operations = list(history)
    moment = max((operation.end for operation in operations), default=0) if at is None else at
    there = set(found)
    findings = []
    for story in stories(operations):
        missing = [
            message
            for message in story.posts
            if message not in there and not story.may_be_removed(message) and moment < story.expires(message)
        ]
        excused = sum(pop.arguments["limit"] for pop in story.unknown_pops)  # whose reply was lost
        if len(missing) > excused:
            findings += [
                Finding(f"message {message} was acknowledged and is lost", story.about(message)) for message in missing
            ]
    return findings


def resurrected(history: Iterable[Operation], settle: float = 0.0) -> list[Finding]:
    """Messages seen by an operation that began after their deletion, pop or purge had returned."""
    findings = []
    for story in stories(history):
        for message, seen in story.sightings.items():
            removal = story.removed(message)
            if removal is None:
                continue
            late = next((each for each in seen if each.start > removal.end + settle * SECOND), None)
            if late is not None:
                what = f"message {message} was seen by {late.name} after {removal.name} had removed it"
                findings.append(_about(story, what, message, removal, late))
    return findings


def torn(history: Iterable[Operation]) -> list[Finding]:
    """Posts of which a look that shows all there is (a whole listing, a claim or pop below its limit) saw a part.

    Messages that another operation may have taken or removed by then are not missed.
    """
    findings = []
    for story in stories(history):
        for look in story.whole_looks:
            seen = set(messages_of(look))
            for post in distinct(story.posts[message] for message in seen if message in story.posts):
                absent = [each for each in post.result if each not in seen and story.untouched(each, look)]
                if absent:
                    what = (
                        f"{look.name} saw a part of a batch of {len(post.result)}: {len(absent)} of it were not there"
                    )
                    findings.append(Finding(what, (post, look), (look,)))
    return findings


def miscounted(history: Iterable[Operation]) -> list[Finding]:
    """Statistics that were true at no instant of their call, by what can be proven of each state.

    Their parts must make their total, the total lie between the messages surely and possibly there, and no state
    count fewer than were surely in it during the whole call.
    """
    findings = []
    for story in stories(history):
        for call in story.stats:
            wrong = story.wrong_count(call)
            if wrong:
                findings.append(Finding(wrong, (call,)))
    return findings


# --- Listings -----------------------------------------------------------------------------------------


def listed_out_of_order(history: Iterable[Operation]) -> list[Finding]:
    """Listings, followed by their markers, that show one producer's messages in another order than their posts'."""
    findings = []
    for story in stories(history):
        for chain in story.chains:
            shown = [message for page in chain for message in messages_of(page)]
            for producer, messages in story.by_producer(shown):
                places = [story.place[message] for message in messages]
                if places != sorted(places):
                    what = f"a listing shows messages of {producer} out of post order"
                    findings.append(Finding(what, (*chain, *story.posts_of(messages)), tuple(chain)))
    return findings


def marker_faults(history: Iterable[Operation]) -> list[Finding]:
    """Messages that a listing by markers showed twice, or passed over although they were active throughout.

    What was released with a delay has a later position, where it may be shown again.
    A listing is judged for completeness if it began without a marker and its last page said that nothing more was
    there: it must have shown what was posted before that page was asked for and never taken or removed.
    """
    findings = []
    for story in stories(history):
        for chain in story.chains:
            shown = Counter(message for page in chain for message in messages_of(page))
            for message, times in shown.items():
                if times > 1 and message not in story.moved:
                    pages = [page for page in chain if message in messages_of(page)]
                    what = f"message {message} was shown {times} times by one listing"
                    findings.append(_about(story, what, message, *pages))
            last = chain[-1]
            if chain[0].arguments["marker"] is None and not last.result["more"]:
                findings += [
                    Finding(f"message {message} was never shown by a listing", story.about(message, *chain[-3:]))
                    for message, post in story.posts.items()
                    if post.end < last.start and message not in shown and story.untouched(message, last)
                ]
    return findings


def queue_listing_faults(history: Iterable[Operation]) -> list[Finding]:
    """Queue listings that repeat a name, are out of order, or miss a queue that existed from start to end."""
    operations = sorted(history, key=lambda operation: operation.start)
    made = _first_ends(operation for operation in operations if operation.name == "queues.create")
    gone = {operation.queue for operation in operations if operation.name == "queues.delete"}
    findings = []
    for chain in chains([each for each in operations if each.name == "queues.list" and each.outcome == "ok"]):
        names = [name for page in chain for name in page.result["names"]]
        if names != sorted(set(names)):
            findings.append(Finding("a listing of queues repeats a name, or is out of order", tuple(chain)))
        if chain[0].arguments["marker"] is None and not chain[-1].result["more"]:
            stayed = {name for name, end in made.items() if end < chain[0].start} - gone
            missed = sorted(stayed - set(names))
            if missed:
                what = f"a listing of queues misses {missed[0]!r}, which existed throughout"
                findings.append(Finding(what, tuple(chain)))
    return findings


# --- Contests -----------------------------------------------------------------------------------------


def winners(history: Iterable[Operation]) -> list[Finding]:
    """Creations of one queue, inserts of one key, replacements or deletions of one version without exactly one winner.

    Names and keys that are also deleted are not judged for creation and insertion.
    """
    contests: dict[tuple[str, str, str | None], list[Operation]] = defaultdict(list)
    deleted = set()
    for operation in history:
        if operation.name in ("queues.create", "records.insert", "records.replace", "records.delete"):
            contests[operation.name, operation.queue, operation.arguments.get("version")].append(operation)
        if operation.name in ("queues.delete", "records.delete"):
            deleted.add(operation.queue)
    findings = []
    for (name, key, _), calls in contests.items():
        if name in ("queues.create", "records.insert") and key in deleted:
            continue
        won = [call for call in calls if call.outcome == "ok" and call.result not in (None, False)]
        unsure = any(call.outcome != "ok" for call in calls)
        if len(won) > 1 or (not won and not unsure):
            what = f"{len(won)} of {len(calls)} concurrent {name} of {key!r} were told that they won; it must be one"
            findings.append(Finding(what, tuple(calls)))
    return findings


def _first_ends(operations: Iterable[Operation]) -> dict[str, int]:
    """When each queue surely existed first."""
    ends: dict[str, int] = {}
    for operation in operations:
        if operation.outcome == "ok":
            ends[operation.queue] = min(operation.end, ends.get(operation.queue, NEVER))
    return ends
