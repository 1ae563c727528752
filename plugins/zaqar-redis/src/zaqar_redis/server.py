"""Scripts, run by the right server: sent by their digest, repeated where that does no harm, in the time given."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from zaqar_core import kit
from zaqar_core.errors import InvalidUri, OutcomeUnknown, StorageError, StorageUnavailable, ZaqarError
from zaqar_redis.connections import Connections
from zaqar_redis.errors import Broken, Later, NoScript, NotConnected, NotThisServer, Refused, not_read, public
from zaqar_redis.scripts import Effect, Script
from zaqar_redis.topology import Topology
from zaqar_redis.wire import packed

_log = logging.getLogger(__name__)
_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1


class Server:
    """The server, or whichever of several has a key."""

    def __init__(self, topology: Topology, *, timeout: float) -> None:
        self._topology = topology
        self.timeout = timeout
        self.clustered = topology.declares_keys
        self.promotes = topology.promotes
        self.was_right = False
        """Whether what the URI says has been found there."""
        self._knows_digests = True
        """Whether EVALSHA is allowed; some proxies let nothing but EVAL through."""

    def deadline(self) -> float:
        """The moment, by ``time.monotonic()``, at which an operation that begins now must have ended."""
        return kit.deadline(self.timeout)

    def primaries(self, deadline: float) -> Sequence[Connections]:
        """Of each server that holds keys, for ``command``."""
        try:
            return self._topology.primaries(deadline)
        except (StorageError, InvalidUri) as error:
            raise self._public(error) from error.__cause__

    def run(self, script: Script, stem: str, *arguments: Any, deadline: float | None = None) -> Any:
        """The script's answer. One that says nothing had to settle what time has changed first, and is run again."""
        deadline = self.deadline() if deadline is None else deadline
        while True:
            answer = self._call(script, stem, arguments, deadline)
            if answer is not None:
                return answer
            if time.monotonic() >= deadline:
                raise StorageUnavailable(
                    f"more had expired than could be worked in within {self.timeout:g} s; try again, or call gc"
                )

    def command(self, *command: str | bytes | int, on: Connections, deadline: float) -> Any:
        """The reply of one server to a command that only reads."""
        return self._until(deadline, Effect.NONE, packed(command), lambda: on)

    def optional(self, *command: str | bytes | int, on: Connections, deadline: float, breaks: int | None = 2) -> Any:
        """The same; None if the server or a proxy before it knows no such command or forbids it, in whatever words.

        Some proxies break the connection instead: ``breaks`` times are enough; None if that is no answer. A connection
        that is not made, or a login that is refused, is none either.
        """
        try:
            return self._attempt(deadline, Effect.NONE, packed(command), lambda: on, breaks=breaks)
        except Refused as error:
            _log.info("%s does not answer %s: %s", on.where, command[0], error)
            return None
        except (Broken, OutcomeUnknown) as error:
            _log.info("%s breaks the connection at %s: %s", on.where, command[0], error)
            return None
        except (StorageError, InvalidUri) as error:
            raise self._public(error) from error.__cause__

    def _public(self, error: StorageError | InvalidUri) -> ZaqarError:
        """As an application may see it. That the URI is wrong is no news once it was right: a server has changed."""
        if isinstance(error, InvalidUri):
            return StorageUnavailable(str(error)) if self.was_right else error
        return public(error)

    def close(self) -> None:
        """Let go of every connection. Twice is once."""
        self._topology.close()

    def _call(self, script: Script, stem: str, arguments: tuple[Any, ...], deadline: float) -> Any:
        keys = [stem]
        if self._topology.declares_keys:  # so that the server sees whether all of them are there
            keys += (f"{stem}:{name}" for name in script.keys)

        def find() -> Connections:
            return self._topology.connections(stem, deadline)

        rest = (len(keys), *keys, *arguments)

        def in_full() -> bytes:
            return packed(("EVAL", script.text, *rest))

        if not self._knows_digests:
            return self._until(deadline, script.effect, in_full(), find)
        request = packed(("EVALSHA", script.sha, *rest))
        return self._until(deadline, script.effect, request, find, in_full=in_full)

    def _until(
        self,
        deadline: float,
        effect: Effect,
        request: bytes,
        find: Callable[[], Connections],
        *,
        in_full: Callable[[], bytes] | None = None,
    ) -> Any:
        """Try until it works, has to be told, or time is up. Raises the errors of ``zaqar_core.errors``."""
        try:
            return self._attempt(deadline, effect, request, find, in_full=in_full)
        except (StorageError, InvalidUri) as error:
            raise self._public(error) from error.__cause__

    def _attempt(
        self,
        deadline: float,
        effect: Effect,
        request: bytes,
        find: Callable[[], Connections],
        *,
        in_full: Callable[[], bytes] | None = None,
        breaks: int | None = None,
    ) -> Any:
        """``in_full``: the request with the text of a script, whose digest the server may not know.

        ``breaks``: after how many broken connections to raise ``Broken`` or ``OutcomeUnknown``; None for any number.
        """
        unanswered: OutcomeUnknown | None = None
        pause = _SHORTEST_PAUSE
        digest_refused = False
        while True:
            began = time.monotonic()
            try:
                reply = find().execute(request, deadline)
            except StorageError as error:
                if isinstance(error, Refused) and in_full is not None:
                    digest_refused = not isinstance(error, NoScript)
                    request, in_full = in_full(), None
                    continue
                if isinstance(error, OutcomeUnknown):
                    unanswered = error
                    again = effect is not Effect.ONCE
                elif isinstance(error, NotConnected | NotThisServer):
                    again = self._topology.changed(error)
                else:
                    again = isinstance(error, Later | Broken)
                now = time.monotonic()
                if breaks is not None and isinstance(error, Broken | OutcomeUnknown) and now < deadline:
                    breaks -= 1
                    if breaks == 0:
                        raise
                # Another would hardly be answered in time.
                if not again or now + pause + (now - began) >= deadline:
                    raise _final(error, unanswered, effect) from error.__cause__
            else:
                if digest_refused:  # and the text was not
                    self._knows_digests = False
                return reply
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)


def _final(error: StorageError, unanswered: OutcomeUnknown | None, effect: Effect) -> StorageError:
    """What to raise: a change that was sent once and not answered may have happened, whatever came of later tries."""
    if unanswered is None:
        return error
    return not_read(unanswered) if effect is Effect.NONE else unanswered
