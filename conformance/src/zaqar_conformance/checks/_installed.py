"""Distributions that are installed while a check runs: real folders on the path, found as any other is."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import invalidate_caches
from importlib.metadata import distributions
from pathlib import Path

from zaqar_core.contract import new_id
from zaqar_core.registry import GROUP


class Installation:
    """A folder of distributions. ``add`` them inside of ``installation()``."""

    def __init__(self, folder: Path) -> None:
        self.modules: list[str] = []
        """The names of the modules written; none is imported by this."""
        self._folder = folder

    def add(self, name: str, entries: Mapping[str, str], *, source: str = "", group: str = GROUP) -> str:
        """Install a distribution with a module of this source, whose name is returned.

        ``entries``: the entry points of the group, a ``{module}`` in their values being that module.
        """
        module = f"conformance_{new_id().replace('-', '_').lower()}_{len(self.modules)}"
        (self._folder / f"{module}.py").write_text(source, encoding="utf-8")
        info = self._folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"[{group}]", *(f"{key} = {value.format(module=module)}" for key, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.modules.append(module)
        invalidate_caches()
        return module

    def damage(self, name: str, files: Mapping[str, bytes]) -> None:
        """Install a distribution whose metadata are these files alone."""
        info = self._folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        for file, data in files.items():
            (info / file).write_bytes(data)
        invalidate_caches()

    def imported(self, module: str) -> bool:
        """Whether anything has imported the module."""
        return module in sys.modules


@contextmanager
def installation() -> Iterator[Installation]:
    """While this lasts nothing is installed but what is added to it; what was imported before stays imported."""
    path = sys.path
    with tempfile.TemporaryDirectory(prefix="zaqar-conformance-") as folder:
        added = Installation(Path(folder))
        without = [place for place in path if next(iter(distributions(path=[place])), None) is None]
        sys.path = [folder, *without]
        invalidate_caches()
        try:
            yield added
        finally:
            sys.path = path
            invalidate_caches()
            for module in added.modules:
                sys.modules.pop(module, None)
