"""Fork as a signal handler may: in the middle of a call, which both processes then continue."""

from __future__ import annotations

import faulthandler
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from zaqar_conformance.bytecodes import run_at

LIMIT = 30
"""Seconds after which a child hangs."""


@dataclass(frozen=True, slots=True)
class Forked:
    """``outcome``: what the call returned or raised in the parent. ``said``: what the child said; ``code``: its end."""

    outcome: object
    said: str
    code: int


def fork_at(call: Callable[[], object], at: int, then: Callable[[object], str], *, limit: int = LIMIT) -> Forked | None:
    """Run ``call`` and fork before its bytecode number ``at``; None if it has fewer.

    The child calls ``then`` with what the call returned or raised there, and ends with it.
    """
    read, write = os.pipe()
    parent, child = os.getpid(), 0

    def fork() -> None:
        nonlocal child
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which others may have started
            child = os.fork()
        if not child:
            os.close(read)
            _end_by_alarm(write, limit)

    outcomes: list[object] = []
    try:
        run_at(lambda: outcomes.append(call()), at, fork)
    except BaseException as error:
        outcomes.append(error)
    finally:
        if os.getpid() != parent:
            be_child(lambda: then(outcomes[0]), write, limit)
        os.close(write)
        with os.fdopen(read, encoding="utf-8", errors="replace") as pipe:
            said = pipe.read()
    if not child:
        return None
    return Forked(outcomes[0], said, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def be_child(work: Callable[[], str], write: int, limit: int) -> None:
    """Do the work, say through ``write`` what came of it, and end as children of a fork do: immediately."""
    code = 1
    try:
        _end_by_alarm(write, limit)
        try:
            text, code = work(), 0
        except BaseException:
            text = traceback.format_exc()
        with os.fdopen(write, "w", encoding="utf-8") as pipe:
            pipe.write(text)
    finally:
        os._exit(code)


def _end_by_alarm(write: int, limit: int) -> None:
    faulthandler.register(signal.SIGALRM, file=write, all_threads=False, chain=True)
    signal.alarm(limit)
