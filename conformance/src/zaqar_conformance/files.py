"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class CannotWrite(Exception):
    """A file that was asked for cannot be written; the cause is chained."""


def write(path: Path, text: str) -> None:
    """Write a file: beside its place first, then moved there, so that no reader sees a part. Raises ``CannotWrite``."""
    with _explained(path):
        if path.exists() and not path.is_file():  # a pipe or a terminal, say
            path.write_text(text, "utf-8", "backslashreplace")
            return
        place = path.resolve()
        part = place.with_name(f".{place.name}.{os.getpid()}.part")
        try:
            part.write_text(text, "utf-8", "backslashreplace")
            part.replace(place)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


def demand_writable(path: Path) -> None:
    """Make the file if it is not there, and leave it as it is if it is. Raises ``CannotWrite``."""
    with _explained(path):
        path.open("a").close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written ({error.strerror}); name another file") from error
