"""The faulty driver of ``faulty/``, put on the path as an installed distribution is, here and in subprocesses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(Path(__file__).parent / "faulty")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH")))))
