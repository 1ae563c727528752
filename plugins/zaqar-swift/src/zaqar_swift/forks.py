"""The child of a fork makes its own locks, threads and connections: those it inherits may be held, dead or shared."""

from __future__ import annotations

import os
from typing import Any, Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """What has to be told."""

    def renew(self) -> None:
        """Make anew what no other process may use."""


def renew_in_child(one: Renewable) -> None:
    """Have ``renew`` called once now, and in the child of every fork for as long as there is the object."""
    one.renew()
    _objects.add(one)


def _after_fork() -> None:
    for one in list(_objects):
        one.renew()


_objects: WeakSet[Any] = WeakSet()
os.register_at_fork(after_in_child=_after_fork)
