"""The reference driver as a target of the suite: nothing to start, nothing to hurt."""

from __future__ import annotations

from pathlib import Path

from zaqar_conformance.reference.driver import forget, set_ahead
from zaqar_conformance.target import Target
from zaqar_core.contract import Driver, new_id


class MemoryTarget(Target):
    """A store in this process."""

    name = "memory"
    scheme = "memory"
    embedded = True
    reference = True
    depth = 2_000  # It looks at every message each time.

    def __init__(self) -> None:
        self._store = new_id()

    def start(self, workspace: Path) -> str:
        return self.uri(self._store)

    def stop(self) -> None:
        forget(self._store)

    def move_clock(self, seconds: float) -> None:
        set_ahead(self._store, seconds)

    def durability_gaps(self, driver: Driver) -> list[str]:
        return ["it writes to no disk"]

    def unreachable_uri(self) -> str:
        return self.uri(new_id(), "create=false")

    def uri(self, store: str, *options: str) -> str:
        """Where a store of that name is, or would be."""
        return f"memory://{store}" + ("?" + "&".join(options) if options else "")
