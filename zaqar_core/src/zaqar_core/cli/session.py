"""What a command works with: its arguments, the output, and the storage, which is opened when it is first needed."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

from zaqar_core.cli.exits import CommandError, Exit
from zaqar_core.cli.output import Output
from zaqar_core.models import Page
from zaqar_core.storage import Storage, connect

T = TypeVar("T")

_PAGE = 1_000


class Session:
    """One run of the command."""

    def __init__(self, arguments: Namespace, output: Output, stack: ExitStack) -> None:
        self.arguments = arguments
        self.output = output
        self._stack = stack
        self._storage: Storage | None = None

    @property
    def storage(self) -> Storage:
        """The storage that the options and the environment name. Raises what ``connect`` raises."""
        if self._storage is None:
            control = self.arguments.control or os.environ.get("ZAQAR_CONTROL_URI") or None
            self._storage = self.open(self.uri, control=control)
        return self._storage

    @property
    def uri(self) -> str:
        """The URI that the options or the environment give."""
        uri: str | None = self.arguments.uri or os.environ.get("ZAQAR_URI")
        if not uri:
            raise CommandError("no URI: pass --uri or set ZAQAR_URI, for example to sqlite:///queues.db", Exit.USAGE)
        return uri

    def open(self, uri: str, *, control: str | None) -> Storage:
        """Open this URI with the options given; it is closed at the end."""
        given = self.arguments
        self.output.hide(uri)
        if control:
            self.output.hide(control)
        times: dict[str, Any] = {}
        if given.timeout is not None:
            times = {"timeout": given.timeout, "connect_timeout": given.timeout}
        project = os.environ.get("ZAQAR_PROJECT", "") if given.project is None else given.project
        client_id = given.client_id or os.environ.get("ZAQAR_CLIENT_ID") or None
        storage = connect(uri, control=control, project=project, client_id=client_id, codecs=given.codec or (), **times)
        return self._stack.enter_context(storage)

    def all(self, page: Callable[..., Page[T]], *, most: int = _PAGE, **arguments: Any) -> Iterator[T]:
        """Every item of a listing, or ``limit`` of them, from ``marker`` on; ``most``: how many a page may have.

        Says on standard error how to go on, where ``limit`` ended it.
        """
        limit, marker = self.arguments.limit, self.arguments.marker
        if limit is not None and limit < 1:
            raise CommandError(
                f"--limit is {limit}; it is a whole number from 1: pass 1 or more, or leave it out", Exit.USAGE
            )
        left = limit
        while left is None or left > 0:
            found = page(marker=marker, limit=most if left is None else min(left, most), **arguments)
            yield from found.items
            marker = found.marker
            left = None if left is None else left - len(found.items)
            if not found.more:
                return
        self.output.note(f"there are more: --marker={marker}")
