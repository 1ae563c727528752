"""What is called from outside runs in the driver's threads, by the caller's deadline, and raises documented errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from zaqar_swift.store import Store

P = ParamSpec("P")
R = TypeVar("R")


class _OnStore(Protocol):
    _store: Store


S = TypeVar("S", bound=_OnStore)


def reading(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """For a method that changes nothing: cut short, it raises ``StorageUnavailable``."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._store.run(partial(method, self, *args, **kwargs), changes=False)

    return call


def changing(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """For a method that changes something: cut short, it raises ``OutcomeUnknown``."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._store.run(partial(method, self, *args, **kwargs), changes=True)

    return call
