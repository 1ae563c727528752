"""``zaqar drivers``: what is installed, what is not, and what is broken; none keeps the others from being shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zaqar_core.registry import DISTRIBUTIONS, GROUP

Zaqar = Callable[..., Any]

BROKEN = {
    "aaa": "import no_such_module_anywhere",
    "bbb": "import sys; sys.exit(3)",
    "ccc": "print('noise on standard output'); 1 / 0",
    "ddd": "from zaqar_core.contract import Driver\nclass D(Driver): contract = 2",
    "eee": "from zaqar_core.contract import Driver\nclass D(Driver): contract = 1",
    "fff": "from zaqar_core.contract import Driver\nclass D(Driver): contract, possible_capabilities = 1, ['SPEED']",
    "ggg": "raise GeneratorExit('stop')",
    "hhh": "class Own(BaseException): pass\nraise Own('stop')",
    "iii": "class Own(Exception):\n    def __str__(self): raise RuntimeError\nraise Own",
}


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distributions besides those that are really installed."""
    monkeypatch.syspath_prepend(tmp_path)
    for scheme, source in BROKEN.items():
        info = tmp_path / f"zaqar_{scheme}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: zaqar-{scheme}\nVersion: 1.2\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{scheme} = broken_{scheme}:D\n", "utf-8")
        (tmp_path / f"broken_{scheme}.py").write_text(source, "utf-8")


def test_installed_and_not_installed(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DISTRIBUTIONS, "paper", "zaqar-paper")
    monkeypatch.delenv("ZAQAR_URI")
    shown = zaqar("drivers")
    assert shown.code == 0
    table, _, offers = shown.out.partition("\n\n")
    assert [line.split()[0] for line in table.splitlines()] == ["SCHEME", *sorted(DISTRIBUTIONS)]
    assert ["paper", "zaqar-paper", "-", "-", "not", "installed"] in map(str.split, table.splitlines())
    assert "paper: pip install zaqar-paper\n" in offers
    assert "sqlite: may offer all 20\n" in offers
    documents = {one["scheme"]: one for one in zaqar("drivers", "--json").documents}
    memory = documents["memory"]
    assert (memory["distribution"], memory["contract"], memory["state"]) == ("zaqar-conformance", 1, "ready")
    assert "CLAIMS" in memory["capabilities"]
    assert memory["problem"] is None


@pytest.mark.usefixtures("broken")
def test_each_broken_one_says_why_and_the_rest_is_shown(zaqar: Zaqar) -> None:
    done = zaqar("drivers", "--json")
    found = {one["scheme"]: one for one in done.documents}
    assert done.code == 5
    assert found["sqlite"]["state"] == "ready"
    assert {(found[scheme]["state"], found[scheme]["version"]) for scheme in BROKEN} == {("broken", "1.2")}
    assert "install 'no_such_module_anywhere', or reinstall zaqar-aaa" in found["aaa"]["problem"]
    assert "failed with SystemExit: 3; this is an error in zaqar-bbb: report it" in found["bbb"]["problem"]
    assert "failed with ZeroDivisionError" in found["ccc"]["problem"]
    assert done.err == "noise on standard output\n"
    assert "speaks contract 2, this zaqar-core speaks 1" in found["ddd"]["problem"]
    assert "possible_capabilities" in found["eee"]["problem"]
    assert "'SPEED' is not a valid Capability" in found["fff"]["problem"]
    assert "failed with GeneratorExit: stop" in found["ggg"]["problem"]
    assert "failed with Own: stop" in found["hhh"]["problem"]
    assert "failed with Own: <its text fails with RuntimeError>" in found["iii"]["problem"]
    assert {
        zaqar("--uri", f"{scheme}://host", "ping").code for scheme in ("aaa", "bbb", "ccc", "ddd", "ggg", "hhh", "iii")
    } == {5}
    shown = zaqar("drivers")
    assert shown.code == 5
    assert ["aaa", "zaqar-aaa", "1.2", "-", "broken"] in map(str.split, shown.out.splitlines())
    assert "\naaa: the driver for 'aaa' is installed (zaqar-aaa) but importing broken_aaa:D failed" in shown.out
