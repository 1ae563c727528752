"""The cells of CI's matrix, for a workflow: ``cells=[...]``, read from pyproject.toml, where they are described."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NO_SERVER = {"image": "", "options": "", "uri": ""}
"""A service without an image is not started."""


def cells() -> list[dict[str, str]]:
    """Each with every key, so that the workflow finds what it asks for."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["zaqar"]["cells"]
    return [NO_SERVER | cell for cell in listed]


if __name__ == "__main__":
    print(f"cells={json.dumps(cells())}")
