"""Running scripts: sent by their digest, repeated where that can do no harm, all within the time given."""

from __future__ import annotations

import random
import time
from typing import Any, Final

import redis.exceptions as theirs

from zaqar_core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from zaqar_redis.connections import Connections
from zaqar_redis.errors import TryAgain
from zaqar_redis.scripts import Effect, Script

_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1


class Server:
    """One Redis server."""

    def __init__(self, connections: Connections, *, timeout: float) -> None:
        self._connections = connections
        self.timeout = timeout

    def deadline(self) -> float:
        """The moment, by ``time.monotonic()``, at which an operation that begins now must have ended."""
        return time.monotonic() + self.timeout

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

    def command(self, *command: Any, deadline: float | None = None) -> Any:
        """The reply to a command that only reads."""
        return self._until(self.deadline() if deadline is None else deadline, Effect.NONE, command)

    def close(self) -> None:
        """Let go of every connection. Twice is once."""
        self._connections.close()

    def _call(self, script: Script, stem: str, arguments: tuple[Any, ...], deadline: float) -> Any:
        try:
            return self._until(deadline, script.effect, ("EVALSHA", script.sha, 1, stem, *arguments))
        except theirs.NoScriptError:
            return self._until(deadline, script.effect, ("EVAL", script.text, 1, stem, *arguments))

    def _until(self, deadline: float, effect: Effect, command: tuple[Any, ...]) -> Any:
        """Try until it works, has to be told, or time is up."""
        unanswered: OutcomeUnknown | None = None
        pause = _SHORTEST_PAUSE
        while True:
            try:
                return self._connections.execute(*command, deadline=deadline)
            except StorageError as error:
                if isinstance(error, OutcomeUnknown):
                    unanswered = error
                    again = effect is not Effect.ONCE
                else:
                    again = isinstance(error, TryAgain)
                if not again or time.monotonic() + pause >= deadline:
                    raise _final(error, unanswered, effect) from error.__cause__
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)


def _final(error: StorageError, unanswered: OutcomeUnknown | None, effect: Effect) -> StorageError:
    """What to raise: a change that was sent once and not answered may have happened, whatever came of later tries."""
    if unanswered is None:
        return error
    return StorageUnavailable(f"{unanswered}; try again") if effect is Effect.NONE else unanswered
