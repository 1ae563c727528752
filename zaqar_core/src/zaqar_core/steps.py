"""Operations of several steps: writes that other clients come before are tried again, and errors say what is done."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from zaqar_core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from zaqar_core.kit.deadline import remaining

_MOST_ATTEMPTS = 100
_LONGEST_PAUSE = 0.02


class Steps:
    """``undone``: set by the block that has put back, and knows it, what it had changed before it failed."""

    undone = False


def attempts(what: str) -> Iterator[int]:
    """Numbers of the attempts to loop over, with pauses, until the caller leaves the loop.

    Raises ``StorageUnavailable`` after 100 attempts: other clients changed ``what`` each time before the caller could.
    """
    for number in range(_MOST_ATTEMPTS):
        if number > 1:
            time.sleep(min(random.uniform(0.0, min(0.001 * 2**number, _LONGEST_PAUSE)), remaining(math.inf)))
        yield number
    raise StorageUnavailable(f"other clients changed {what} before each of {_MOST_ATTEMPTS} attempts; try again later")


@contextmanager
def begun(what: str, *, remedy: str = "do it again to finish it") -> Iterator[Steps]:
    """Raise ``OutcomeUnknown`` for a ``StorageError`` of the block, unless the block sets ``undone``.

    The block takes several writes, some of which may be done when it fails. The text of the error is not repeated: it
    speaks of one write, and may say that nothing happened.
    """
    steps = Steps()
    try:
        yield steps
    except StorageError as error:
        if steps.undone or isinstance(error, OutcomeUnknown):
            raise
        raise OutcomeUnknown(f"{what} failed with {type(error).__name__} and may be half done; {remedy}") from error
