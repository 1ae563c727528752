"""What installed distributions offer, found so that a broken one hides no other."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions

from zaqar_core.signals import is_from_handler

_log = logging.getLogger(__name__)
_reported: set[str] = set()


def offered(group: str) -> list[EntryPoint]:
    """The entry points of the group, nothing imported.

    A distribution that is on the path twice (a checkout and its metadata) counts once. One whose metadata cannot be
    read is logged, once in a process, and left out.
    """
    found: dict[str, list[EntryPoint]] = {}
    for distribution in _distributions():
        place = str(getattr(distribution, "_path", distribution))
        try:
            entries = [entry for entry in distribution.entry_points if entry.group == group]
        except Exception as error:
            if is_from_handler(error):
                raise
            _report(place, error)
            continue
        if entries:
            found.setdefault(_normalised(owner(entries[0])), entries)
    return [entry for entries in found.values() for entry in entries]


def owner(entry: EntryPoint) -> str:
    """The name of the distribution that offers an entry point; of its package, if it has none."""
    try:
        name = entry.dist.metadata["Name"] if entry.dist else None
    except Exception:
        name = None
    return name or re.split(r"[.:]", entry.value)[0].strip() or entry.name


def version(entry: EntryPoint) -> str:
    """The version of the distribution that offers an entry point."""
    try:
        return (entry.dist.metadata["Version"] if entry.dist else None) or "unknown"
    except Exception:
        return "unknown"


def _distributions() -> Iterator[Distribution]:
    found = iter(distributions())
    while True:
        try:
            yield next(found)
        except StopIteration:
            return
        except Exception as error:  # from a finder that another package has installed
            if is_from_handler(error):
                raise
            _report("sys.meta_path", error)
            return


def _report(place: str, error: Exception) -> None:
    if place not in _reported:
        _reported.add(place)
        _log.warning(
            "the metadata of an installed distribution cannot be read (%s): %s; what it offers is left out: "
            "reinstall it",
            place,
            type(error).__name__,
        )


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
