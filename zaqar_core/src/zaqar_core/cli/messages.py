"""What is done with messages: peek, pop, claim, acknowledge, release, renew; ``zaqar message``."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from zaqar_core import limits
from zaqar_core.cli.arguments import Commands, Parser, add_page, add_queue, duration
from zaqar_core.cli.exits import CommandError, Exit, exit_of
from zaqar_core.cli.lines import Line, LineError, batches, document_of
from zaqar_core.cli.session import Session
from zaqar_core.cli.text import Column, compact, number, seconds, words
from zaqar_core.errors import ClaimDoesNotExist, CodecError, QueueDoesNotExist, Unsupported, ZaqarError
from zaqar_core.models import Message


def _text(body: object) -> str:
    """A body for people: JSON, or the bytes of one that cannot be decoded."""
    return f"base64:{_base64(body)}" if isinstance(body, bytes) else compact(body)


COLUMNS = (
    Column("id"),
    Column("age", seconds, right=True),
    Column("ttl", seconds, right=True),
    Column("claim_count", title="claims", right=True),
    Column("body", _text, cut=True),
)
IN_FULL = (
    *COLUMNS[:4],
    Column("client_id"),
    Column("claim_id"),
    Column("headers", compact),
    Column("body", _text),
)


def add(queue: Commands, message: Commands) -> None:
    """The verbs."""
    peek = queue.command("peek", _peek, "show messages in their order and leave them there")
    add_queue(peek)
    peek.add_argument("--claimed", action="store_true", help="claimed ones too")
    peek.add_argument("--delayed", action="store_true", help="delayed ones too")
    add_page(peek, limits.DEFAULT_PAGE)

    pop = queue.command("pop", _pop, "take messages and delete them in one step; lost if the reply is lost")
    add_queue(pop)
    pop.add_argument("--limit", type=int, default=1, metavar="N", help="take at most N messages (1)")

    claim = queue.command(
        "claim",
        _claim,
        "lease messages: others do not see them until the claim ends",
        "Acknowledge what is done with queue ack, give back the rest with queue release. With --json each line is a\n"
        "message with its claim_id, which queue ack reads.",
    )
    add_queue(claim)
    claim.add_argument("--limit", type=int, metavar="N", help=f"take at most N messages ({limits.DEFAULT_PAGE})")
    _add_times(claim, ttl=f"{limits.DEFAULT_CLAIM_TTL:g}")
    claim.add_argument("--wait", type=duration, default=0, metavar="SECONDS", help="how long to wait for messages (0)")

    ack = queue.command(
        "ack",
        _ack,
        "acknowledge claimed messages: delete them, their work is done",
        "Without MESSAGE_ID: all that the claim holds. With - for CLAIM_ID: the messages on standard input, as\n"
        "queue claim --json wrote them.",
    )
    add_queue(ack)
    ack.add_argument("claim", metavar="CLAIM_ID", help="the claim that holds them, or -")
    ack.add_argument("messages", metavar="MESSAGE_ID", nargs="*", default=[], help="a message of the claim")

    release = queue.command("release", _release, "give claimed messages back before the claim ends")
    add_queue(release)
    release.add_argument("claim", metavar="CLAIM_ID", help="the claim that holds them")
    release.add_argument(
        "messages", metavar="MESSAGE_ID", nargs="*", default=[], help="a message of the claim (all of it)"
    )
    release.add_argument("--delay", type=duration, default=0, metavar="SECONDS", help="hide them for this long (0)")

    renew = queue.command("renew", _renew, "renew a claim: it ends --ttl seconds from now")
    add_queue(renew)
    renew.add_argument("claim", metavar="CLAIM_ID", help="the claim")
    _add_times(renew, ttl="as long as it was given last")

    get = message.command("get", _get, "show messages in full, claimed and delayed ones too")
    delete = message.command("delete", _delete, "delete messages; one that is gone already is no error")
    for parser in (get, delete):
        add_queue(parser)
        parser.add_argument("messages", metavar="MESSAGE_ID", nargs="+", help="a message's id")
    delete.add_argument("--claim", metavar="CLAIM_ID", help="the claim that holds them")


def _add_times(parser: Parser, *, ttl: str) -> None:
    """How long a claim lasts; ``ttl``: the default, in words."""
    for name, default, what in (
        ("--ttl", ttl, "how long the claim lasts"),
        ("--grace", f"{limits.DEFAULT_CLAIM_GRACE:g}", "how long its messages live after it at least"),
    ):
        parser.add_argument(name, type=duration, metavar="SECONDS", help=f"{what} ({default})")


def _peek(session: Session) -> Exit:
    given = session.arguments
    found = session.all(
        partial(session.storage.messages.list, given.queue),
        most=session.storage.limits.max_messages_per_page,
        include_claimed=given.claimed,
        include_delayed=given.delayed,
    )
    return _show(session, found, f"queue {given.queue!r} has no such message")


def _pop(session: Session) -> Exit:
    given = session.arguments
    return _show(session, session.storage.messages.pop(given.queue, given.limit), f"queue {given.queue!r} is empty")


def _claim(session: Session) -> Exit:
    given = session.arguments
    claim = session.storage.queue(given.queue).claim(
        limit=given.limit, ttl=given.ttl, grace=given.grace, wait=given.wait
    )
    if claim and not session.output.as_json:
        session.output.say(f"claim {claim.id} for {seconds(claim.ttl)}")
    return _show(session, claim, f"queue {given.queue!r} has nothing to claim")


def _show(session: Session, messages: Iterable[Message], nothing: str) -> Exit:
    count = session.output.rows(COLUMNS, (_item(session, message) for message in messages), nothing)
    return Exit.DONE if count else Exit.NOTHING


def _ack(session: Session) -> Exit:
    given = session.arguments
    if given.claim == "-":
        if given.messages:
            raise CommandError("give message ids, or - to read them, not both", Exit.USAGE)
        return _ack_lines(session)
    ids, unsure = given.messages, list[str]()
    if not ids:
        held = session.storage.claims.get(given.queue, given.claim).messages
        unsure = _perhaps_dead(session, held)
        ids = [message.id for message in held if message.id not in unsure]
    refused = _bulk_delete(session, ids, [given.claim])
    result = _report(session, "acknowledged", len(set(ids)), refused)
    if unsure:
        session.output.note(
            f"not acknowledged, since they may be dead letters that could not be moved: {words(unsure)}; "
            "name those that the claim gave you"
        )
        return Exit.REFUSED
    return result


def _perhaps_dead(session: Session, held: Sequence[Message]) -> list[str]:
    """The ids of those that the claim may hold without having handed them out: they have used up their tries."""
    if all(message.claim_count <= 1 for message in held):
        return []
    try:
        metadata = session.storage.queues.get_metadata(session.arguments.queue)
    except (QueueDoesNotExist, Unsupported):
        return []
    most, target = metadata.get("_max_claim_count"), metadata.get("_dead_letter_queue")
    return [] if most is None or target is None else [each.id for each in held if each.claim_count > most]


def _ack_lines(session: Session) -> Exit:
    total, refused = 0, list[str]()
    try:
        for batch in batches(session.storage.limits.max_ids_per_call):
            claims = dict(map(_claimed, batch))
            refused += _bulk_delete(session, list(claims), sorted(set(claims.values())))
            total += len(claims)
            session.output.progress(f"acknowledged {number(total - len(refused), 'message')}")
    except ZaqarError as error:
        done = f"before it, {number(total - len(refused), 'message')} were acknowledged"
        raise CommandError(f"{error}; {done}", exit_of(error)) from error
    return _report(session, "acknowledged", total, refused)


def _claimed(line: Line) -> tuple[str, str]:
    """The ids of a message and its claim. Raises ``LineError``."""
    document = document_of(line)
    found = [document.get(key) for key in ("id", "claim_id")] if isinstance(document, dict) else []
    match found:
        case [str(message), str(claim)]:
            return message, claim
    raise LineError(line[0], "no claimed message with id and claim_id; ack reads what queue claim --json wrote")


def _release(session: Session) -> Exit:
    given = session.arguments
    claims, wanted = session.storage.claims, set(given.messages)
    try:
        held = {message.id for message in claims.get(given.queue, given.claim).messages}
    except ClaimDoesNotExist:
        raise CommandError(
            f"nothing was released: no live claim {given.claim!r} on queue {given.queue!r} holds messages; it may have "
            "ended",
            Exit.NOTHING,
        ) from None
    released = held & wanted if wanted else held
    if released:
        claims.delete(given.queue, given.claim, message_ids=given.messages or None, delay=given.delay)
    text = f"released {number(len(released), 'message')} of claim {given.claim}"
    session.output.done(text, {"claim_id": given.claim, "released": bool(released)})
    missing = sorted(wanted - held)
    if missing:
        session.output.note(f"not held by claim {given.claim}: {words(missing)}")
    return Exit.NOTHING if missing else Exit.DONE


def _renew(session: Session) -> Exit:
    given = session.arguments
    claims, most = session.storage.claims, session.storage.limits
    ttl, grace = given.ttl, given.grace
    if ttl is None:
        ttl = min(claims.get(given.queue, given.claim).ttl, most.max_claim_ttl)
    if grace is None:
        grace = min(limits.DEFAULT_CLAIM_GRACE, most.max_claim_grace)
    claims.update(given.queue, given.claim, ttl=ttl, grace=grace)
    text = f"claim {given.claim} ends in {seconds(ttl)}"
    session.output.done(text, {"claim_id": given.claim, "ttl": ttl, "grace": grace})
    return Exit.DONE


def _get(session: Session) -> Exit:
    given = session.arguments
    found = session.storage.messages.bulk_get(given.queue, given.messages)
    for place, message in enumerate(found):
        if place and not session.output.as_json:
            session.output.say("")
        session.output.one(IN_FULL, _item(session, message))
    missing = sorted(set(given.messages) - {message.id for message in found})
    if missing:
        session.output.note(f"not in queue {given.queue!r}: {words(missing)}")
    return Exit.NOTHING if missing else Exit.DONE


def _delete(session: Session) -> Exit:
    given = session.arguments
    refused = _bulk_delete(session, given.messages, None if given.claim is None else [given.claim])
    return _report(session, "deleted", len(set(given.messages)), refused)


def _bulk_delete(session: Session, ids: Sequence[str], claims: Sequence[str] | None) -> list[str]:
    """Delete, in calls that the limits allow; the ids that were refused."""
    storage = session.storage
    most = storage.limits.max_ids_per_call
    parts: Iterator[Sequence[str]] = (ids[at : at + most] for at in range(0, len(ids), most))
    return [
        refused
        for part in parts
        for refused in storage.messages.bulk_delete(session.arguments.queue, part, claim_ids=claims)
    ]


def _report(session: Session, what: str, total: int, refused: Sequence[str]) -> Exit:
    session.output.done(
        f"{what} {number(total - len(refused), 'message')}", {what: total - len(refused), "refused": refused}
    )
    if not refused:
        return Exit.DONE
    session.output.note(
        f"{len(refused)} of {total} were refused, since no live claim that was named holds them: {words(refused)}"
    )
    return Exit.REFUSED


def _item(session: Session, message: Message) -> dict[str, Any]:
    """The message as an item. A body that cannot be decoded is noted, and its bytes shown instead of it."""
    return {
        "id": message.id,
        **_body(session, message),
        "ttl": round(message.ttl, 3),
        "age": round(message.age, 3),
        "client_id": message.client_id,
        "claim_id": message.claim_id,
        "claim_count": message.claim_count,
        "headers": dict(message.headers),
    }


def _body(session: Session, message: Message) -> dict[str, Any]:
    try:
        return {"body": message.body}
    except CodecError as error:
        session.output.note(f"message {message.id}: {error}")
        raw = message.raw or b""
        return {"body_base64": _base64(raw)} if session.output.as_json else {"body": raw}


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()
