"""Lines from standard input, in batches: full ones while input flows, what there is when it pauses."""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Iterator
from typing import IO, Any

from zaqar_core.cli.exits import CommandError, Exit

_CHUNK = 1 << 20
_LONGEST = 16 << 20
_BATCH_BYTES = 4 << 20
_BOM = b"\xef\xbb\xbf"

Line = tuple[int, bytes]
"""Its number, from 1, and its bytes."""


class LineError(CommandError):
    """A line that is wrong; ``line`` is its number."""

    def __init__(self, line: int, text: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(f"line {line}: {text}", code)
        self.line = line


def batches(most: int) -> Iterator[list[Line]]:
    """Lines that are not blank, at most so many at a time. A slow writer's lines come as they are written."""
    if not sys.stdin:
        raise CommandError("standard input is closed", Exit.USAGE)
    stream = sys.stdin.buffer
    batch: list[Line] = []
    size = 0
    for lines in _chunks(stream):
        for number, line in lines:
            if line.strip():
                if batch and (len(batch) == most or size + len(line) > _BATCH_BYTES):
                    yield batch
                    batch, size = [], 0
                batch.append((number, line))
                size += len(line)
        if batch and not _has_more(stream):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def text_of(line: Line) -> str:
    """The line as text. Raises ``LineError``."""
    try:
        return line[1].decode()
    except UnicodeDecodeError as error:
        raise LineError(line[0], f"no UTF-8: {error}") from None


def document_of(line: Line) -> Any:
    """The JSON document in the line. Raises ``LineError``."""
    text = text_of(line)
    try:
        return read_json(text)
    except ValueError as error:
        raise LineError(line[0], f"{error}; each line is one document, as 'jq -c .' writes them") from None


def read_json(text: str) -> Any:
    """The value. Raises ``ValueError`` that says why there is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON that can be read: {error}") from None


def _chunks(stream: IO[bytes]) -> Iterator[list[Line]]:
    """The lines that each read brought."""
    number, rest = 0, b""
    while data := stream.read1(_CHUNK):  # type: ignore[attr-defined]
        if number == 0 and not rest:
            data = data.removeprefix(_BOM)
        *lines, rest = (rest + data).split(b"\n")
        yield [(number + place, line.removesuffix(b"\r")) for place, line in enumerate(lines, 1)]
        number += len(lines)
        if len(rest) > _LONGEST:
            raise LineError(number + 1, f"longer than {_LONGEST >> 20} MiB; each line is one document")
    if rest:
        yield [(number + 1, rest)]


def _has_more(stream: IO[bytes]) -> bool:
    """Whether a read would return at once, if only to say that this is the end."""
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError):  # no file, or no way to ask (Windows)
        return False
