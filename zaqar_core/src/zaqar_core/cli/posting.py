"""``zaqar queue post``: one message from the arguments, or as many as come on standard input."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from zaqar_core.capabilities import Capability
from zaqar_core.cli.arguments import Commands, add_queue, duration, pair
from zaqar_core.cli.exits import CommandError, Exit, exit_of
from zaqar_core.cli.lines import Line, LineError, batches, document_of, read_json, text_of
from zaqar_core.cli.session import Session
from zaqar_core.cli.text import number
from zaqar_core.errors import BatchTooLarge, InvalidInput, OutcomeUnknown, StorageError, ZaqarError
from zaqar_core.models import NewMessage
from zaqar_core.storage import Storage

_BATCH = 500
_ENVELOPE = ("body", "ttl", "delay", "headers", "dedup_id")
_SHOWN = ("id", "age", "client_id", "claim_id", "claim_count")
_PLACE = re.compile(r"message (\d+): ")


def add(queue: Commands) -> None:
    """The verb."""
    post = queue.command(
        "post",
        _post,
        "post a message, or one for each line of standard input",
        "With - for BODY each line of standard input is a message: its JSON body, with --text its text, or with\n"
        f"--envelope an object with {', '.join(_ENVELOPE)}; of what peek, pop and claim --json write the rest is\n"
        "left out. Lines are posted in batches. A wrong line ends it; nothing of its batch is posted.",
    )
    add_queue(post)
    post.add_argument("body", metavar="BODY", help="a JSON value; - reads standard input")
    kind = post.add_mutually_exclusive_group()
    kind.add_argument("--text", action="store_true", help="the body is text, not JSON")
    kind.add_argument("--envelope", action="store_true", help="lines are objects with a body and what belongs to it")
    post.add_argument("--ttl", type=duration, metavar="SECONDS", help="how long it lives (the queue's default, 1 hour)")
    post.add_argument(
        "--delay", type=duration, metavar="SECONDS", help="how long it stays hidden (the queue's default, 0)"
    )
    post.add_argument("--header", type=pair, action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    post.add_argument("--dedup-id", metavar="ID", help="posted again within 300 s it stores nothing")
    post.add_argument("--batch", type=int, default=_BATCH, metavar="N", help=f"lines in a batch at most ({_BATCH})")


def _post(session: Session) -> Exit:
    given = session.arguments
    if given.body == "-":
        if given.dedup_id is not None:
            raise CommandError("--dedup-id is for one message; lines have their own with --envelope", Exit.USAGE)
        return _post_lines(session)
    if given.envelope:
        raise CommandError("--envelope is for lines of standard input: pass - for BODY", Exit.USAGE)
    try:
        body = given.body if given.text else read_json(given.body)
    except ValueError as error:
        raise CommandError(
            f"BODY is {error}; quote it for the shell, or pass --text if it is text", Exit.USAGE
        ) from None
    message = NewMessage(body, given.ttl, given.delay, dict(given.header), given.dedup_id)
    [message_id] = session.storage.messages.post(given.queue, [message])
    session.output.done(message_id, {"id": message_id})
    return Exit.DONE


def _post_lines(session: Session) -> Exit:
    given = session.arguments
    if given.batch < 1:
        raise CommandError(
            f"--batch is {given.batch}; it is a whole number from 1: pass 1 or more, or leave it out", Exit.USAGE
        )
    feed = _Feed(session.storage, given)
    try:
        for batch in batches(min(given.batch, session.storage.limits.max_messages_per_post)):
            try:
                feed.post(batch)
            finally:
                session.output.documents(feed.take_ids())
            session.output.progress(f"posted {number(feed.posted, 'message')}")
    except KeyboardInterrupt:
        session.output.note(feed.account())
        raise
    except ZaqarError as error:
        raise CommandError(f"{error}; {feed.account()}", exit_of(error)) from error
    if not session.output.as_json:
        session.output.say(f"posted {number(feed.posted, 'message')} to queue {given.queue!r}")
    return Exit.DONE


class _Feed:
    """Posts batches, and knows what became of which lines."""

    def __init__(self, storage: Storage, given: Namespace) -> None:
        self.posted = 0
        self._last = 0
        self._open = (0, 0)  # first and last line of what is being posted: its outcome is not known
        self._ids: list[dict[str, Any]] = []
        self._storage = storage
        self._given = given

    def post(self, batch: Sequence[Line]) -> None:
        """Post all lines of the batch, or none if one is wrong. Raises ``LineError`` then."""
        self._send(batch, [self._message(line) for line in batch])

    def take_ids(self) -> list[dict[str, Any]]:
        """The ids of what was posted since the last time."""
        ids, self._ids = self._ids, []
        return ids

    def account(self) -> str:
        """What was posted, in words."""
        first, last = self._open
        rest = f"lines {first} to {last} may have been posted" if first else "nothing else was"
        if self.posted:
            return f"lines up to {self._last} were posted ({number(self.posted, 'message')}), {rest}"
        return rest if first else "nothing was posted"

    def _send(self, batch: Sequence[Line], messages: Sequence[NewMessage]) -> None:
        self._open = (batch[0][0], batch[-1][0])
        try:
            ids = self._storage.messages.post(self._given.queue, messages)
        except BatchTooLarge as error:
            self._open = (0, 0)
            if len(batch) == 1:
                raise LineError(batch[0][0], str(error)) from error
            half = len(batch) // 2
            self._send(batch[:half], messages[:half])
            self._send(batch[half:], messages[half:])
            return
        except InvalidInput as error:
            self._open = (0, 0)
            place = _PLACE.match(str(error))
            if place is None:
                raise
            raise LineError(batch[int(place[1])][0], str(error)[place.end() :]) from error
        except ZaqarError as error:
            is_atomic = Capability.ATOMIC_POST in self._storage.capabilities
            if not isinstance(error, OutcomeUnknown) and (is_atomic or not isinstance(error, StorageError)):
                self._open = (0, 0)
            raise
        self._open = (0, 0)
        self.posted += len(ids)
        self._last = batch[-1][0]
        self._ids += [{"line": line[0], "id": message_id} for line, message_id in zip(batch, ids, strict=True)]

    def _message(self, line: Line) -> NewMessage:
        given = self._given
        if given.text:
            return NewMessage(text_of(line), given.ttl, given.delay, dict(given.header))
        document = document_of(line)
        if not given.envelope:
            return NewMessage(document, given.ttl, given.delay, dict(given.header))
        if isinstance(document, dict) and "body_base64" in document:
            raise LineError(
                line[0],
                "a message whose body could not be decoded; write it again with the --codec that it was posted with",
            )
        if not isinstance(document, dict) or "body" not in document:
            raise LineError(line[0], "no object with a body, as --envelope needs it")
        unknown = sorted(document.keys() - {*_ENVELOPE, *_SHOWN})
        if unknown:
            raise LineError(line[0], f"unknown {', '.join(unknown)}; an envelope has {', '.join(_ENVELOPE)}")
        return NewMessage(
            document["body"],
            document.get("ttl", given.ttl),
            document.get("delay", given.delay),
            _merged(given.header, document.get("headers")),
            document.get("dedup_id"),
        )


def _merged(defaults: Sequence[tuple[str, str]], headers: Any) -> Any:
    """The headers of an envelope over those of the arguments; what is no object is left for the storage to refuse."""
    return {**dict(defaults), **(headers or {})} if headers is None or isinstance(headers, Mapping) else headers
