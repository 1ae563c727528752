"""Where the file is and how SQLite treats it, read from the URI."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zaqar_core.errors import InvalidOption, InvalidUri, StorageUnavailable
from zaqar_core.uri import Uri, read_options

MAX_CACHE_MIB = 65_536


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a ``sqlite:`` URI.

    ``synchronous``: FULL waits for the disk at every write, so that a loss of power loses nothing acknowledged;
    NORMAL waits only now and then, so that a loss of power may lose the latest writes; OFF never waits, so that a
    loss of power may damage the file. No crash of a process loses anything under any of them.
    ``cache_mib``: how much of the file each connection keeps in memory, in MiB.
    """

    synchronous: Literal["FULL", "NORMAL", "OFF"] = "FULL"
    cache_mib: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.cache_mib <= MAX_CACHE_MIB:
            raise InvalidOption(f"option cache_mib={self.cache_mib} is outside 1 to {MAX_CACHE_MIB}; choose one inside")


def options_of(uri: Uri) -> Options:
    """Raises ``InvalidOption``."""
    return read_options(Options, uri)


def path_of(uri: Uri) -> Path:
    """The absolute path of the file. Raises ``InvalidUri``; ``StorageUnavailable`` where its folder is missing."""
    if uri.authority:
        raise InvalidUri(
            "a sqlite URI has no host: it would start with sqlite:// and two slashes; "
            "write sqlite:///relative.db (three) or sqlite:////absolute/path.db (four)"
        )
    text = uri.path.removeprefix("/")
    if not text:
        raise InvalidUri("the sqlite URI names no file; write sqlite:///relative.db or sqlite:////absolute/path.db")
    if text == ":memory:":
        raise InvalidUri(
            "sqlite:///:memory: would be a separate database for each connection; "
            "name a file, for example one in a temporary folder"
        )
    if "\0" in text:
        raise InvalidUri("the path in the sqlite URI contains U+0000; remove the %00")
    # Links are followed, so that one file has one path: SQLite derives the names of its side files from it.
    try:
        path = Path(os.path.realpath(text))
        present, is_file, is_folder, has_folder = path.exists(), path.is_file(), path.is_dir(), path.parent.is_dir()
    except ValueError as error:
        raise InvalidUri(f"{text!r} cannot be the name of a file; correct the path in the URI") from error
    except OSError as error:
        raise StorageUnavailable(f"{text!r} cannot be reached ({error.strerror}); correct the path") from error
    if is_folder:
        raise InvalidUri(f"{text!r} is a folder; name a file in it")
    if present and not is_file:
        raise InvalidUri(f"{text!r} is a device, pipe or socket; name a plain file")
    if not has_folder:
        raise StorageUnavailable(
            f"the folder of {text!r} does not exist; create it, or correct the path in the URI"
        ) from FileNotFoundError(str(path.parent))
    return path
