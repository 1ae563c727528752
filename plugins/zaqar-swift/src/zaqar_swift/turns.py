"""Threads of one process take turns at a queue or container, which costs less than to meet in Swift."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from typing import Final

from zaqar_core import kit
from zaqar_swift.forks import renew_in_child

_REMEMBERED: Final = 4_096


class Turns:
    """One turn for each key, as long as it was used not too long ago: without it nothing breaks."""

    def __init__(self) -> None:
        renew_in_child(self)

    def renew(self) -> None:
        self._turns: OrderedDict[Hashable, kit.Slots] = OrderedDict()

    def of(self, key: Hashable) -> kit.Slots:
        """Take it, work in ``try``, and give it back in ``finally``."""
        turn = self._turns.setdefault(key, kit.Slots(1, "the turn at this queue"))
        with suppress(KeyError):  # other threads do the same
            self._turns.move_to_end(key)
            while len(self._turns) > _REMEMBERED:
                self._turns.popitem(last=False)
        return turn


TURNS: Final = Turns()
