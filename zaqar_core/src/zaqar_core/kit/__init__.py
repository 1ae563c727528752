"""For driver authors: what every driver needs and none should have to write again.

``deadline``, ``remaining``, ``time_limit``: how much time the call under way has left.
``forked``: whether the process was forked in the middle of the call under way.
``Slots``: mutual exclusion that an exception at any bytecode cannot break.
``resolve``: a module that looks host names up, and connects to them, by a deadline.
``taken_together``: how many messages a claim takes, where one on its last try is taken alone.
"""

from zaqar_core.kit import resolve
from zaqar_core.kit.deadline import deadline, forked, remaining, time_limit
from zaqar_core.kit.slots import Slot, Slots
from zaqar_core.kit.tries import taken_together

__all__ = ["Slot", "Slots", "deadline", "forked", "remaining", "resolve", "taken_together", "time_limit"]
