"""The reference driver as a target of the suite: nothing to start, nothing to hurt."""

from __future__ import annotations

from pathlib import Path

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
        self._uri = f"memory://{new_id()}"

    def start(self, workspace: Path) -> str:
        return self._uri

    def stop(self) -> None:
        """The store goes with the process."""

    def durability_gaps(self, driver: Driver) -> list[str]:
        return ["it writes to no disk"]

    def unreachable_uri(self) -> str:
        return f"memory://{new_id()}?create=false"
