"""Scripts, run by the right server: sent by their digest, repeated where that does no harm, in the time given."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis.exceptions as theirs

from zaqar_core import kit
from zaqar_core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from zaqar_redis.connections import Connections
from zaqar_redis.errors import NotConnected, NotThisServer, TryAgain
from zaqar_redis.scripts import Effect, Script
from zaqar_redis.topology import Topology

_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1


class Server:
    """The server, or whichever of several has a key."""

    def __init__(self, topology: Topology, *, timeout: float) -> None:
        self._topology = topology
        self.timeout = timeout
        self.clustered = topology.declares_keys
        self.promotes = topology.promotes

    def deadline(self) -> float:
        """The moment, by ``time.monotonic()``, at which an operation that begins now must have ended."""
        return kit.deadline(self.timeout)

    def primaries(self, deadline: float) -> Sequence[Connections]:
        """Of each server that holds keys, for ``command``."""
        return self._topology.primaries(deadline)

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

    def command(self, *command: Any, on: Connections, deadline: float) -> Any:
        """The reply of one server to a command that only reads."""
        return self._until(deadline, Effect.NONE, command, lambda: on)

    def close(self) -> None:
        """Let go of every connection. Twice is once."""
        self._topology.close()

    def _call(self, script: Script, stem: str, arguments: tuple[Any, ...], deadline: float) -> Any:
        keys = [stem]
        if self._topology.declares_keys:  # so that the server sees whether all of them are there
            keys += (f"{stem}:{name}" for name in script.keys)

        def find() -> Connections:
            return self._topology.connections(stem, deadline)

        command = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        return self._until(deadline, script.effect, command, find, text=script.text)

    def _until(
        self,
        deadline: float,
        effect: Effect,
        command: tuple[Any, ...],
        find: Callable[[], Connections],
        *,
        text: str = "",
    ) -> Any:
        """Try until it works, has to be told, or time is up. ``text``: of a script that the server may not know."""
        unanswered: OutcomeUnknown | None = None
        pause = _SHORTEST_PAUSE
        while True:
            began = time.monotonic()
            try:
                return find().execute(*command, deadline=deadline)
            except theirs.NoScriptError:
                command = ("EVAL", text, *command[2:])
                continue
            except StorageError as error:
                if isinstance(error, OutcomeUnknown):
                    unanswered = error
                    again = effect is not Effect.ONCE
                elif isinstance(error, NotConnected | NotThisServer):
                    again = self._topology.changed(error)
                else:
                    again = isinstance(error, TryAgain)
                now = time.monotonic()
                if not again or now + pause + (now - began) >= deadline:  # another would hardly be answered in time
                    raise _final(error, unanswered, effect) from error.__cause__
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)


def _final(error: StorageError, unanswered: OutcomeUnknown | None, effect: Effect) -> StorageError:
    """What to raise: a change that was sent once and not answered may have happened, whatever came of later tries."""
    if unanswered is None:
        return error
    return StorageUnavailable(f"{unanswered}; try again") if effect is Effect.NONE else unanswered
