"""The attribute ``body`` of a message: its value, or a ``CodecError`` where this client cannot decode the stored bytes.

A message with such a body is a message like any other: it is delivered, compared, printed, pickled and deleted. Only
reading its ``body`` raises.
"""

from __future__ import annotations

from typing import Any

from zaqar_core.errors import CodecError


class Undecodable:
    """Stands in a message for a body that could not be decoded. ``reason``: why, without anything of the body."""

    __slots__ = ("cause", "reason")

    def __init__(self, reason: str, cause: BaseException | None = None) -> None:
        self.reason = reason
        self.cause = cause
        _drop_frames(cause)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Undecodable)  # the messages' raw bytes tell the difference

    def __hash__(self) -> int:
        return hash(Undecodable)

    def __reduce__(self) -> tuple[type[Undecodable], tuple[str]]:
        return Undecodable, (self.reason,)  # not every exception can be pickled

    def __repr__(self) -> str:
        return f"<undecodable: {self.reason}>"


class Body:
    """The descriptor of ``Message.body``, in front of the slot that holds it."""

    def __init__(self, slot: Any) -> None:
        self._slot = slot

    def __get__(self, message: object | None, owner: type | None = None) -> Any:
        if message is None:
            return self
        value = self._slot.__get__(message)
        if isinstance(value, Undecodable):
            raise CodecError(value.reason) from value.cause
        return value

    def __set__(self, message: object, value: object) -> None:
        self._slot.__set__(message, value)

    def held(self, message: object) -> Any:
        """The body, or the ``Undecodable`` in its place; never an error."""
        return self._slot.__get__(message)


def _drop_frames(error: BaseException | None) -> None:
    """Drop the tracebacks of an error and its causes: they would keep alive what every caller held."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.with_traceback(None).__cause__ or error.__context__
