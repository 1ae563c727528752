"""``zaqar drivers``: what is installed, what it may offer, what is broken and why."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib.metadata import EntryPoint
from typing import Any

from zaqar_core.capabilities import Capability
from zaqar_core.cli.arguments import Commands
from zaqar_core.cli.exits import Exit
from zaqar_core.cli.session import Session
from zaqar_core.cli.text import Column, capabilities, words
from zaqar_core.errors import DriverError
from zaqar_core.hiding import said
from zaqar_core.plugins import owner, version
from zaqar_core.registry import DISTRIBUTIONS, installed, load_driver

COLUMNS = (Column("scheme"), Column("distribution"), Column("version"), Column("contract", right=True), Column("state"))


def add(commands: Commands) -> None:
    """The verb."""
    commands.command(
        "drivers",
        _drivers,
        "list the drivers, installed or not, with what they may offer",
        "Each installed driver is imported, on its own. The exit code is 5 if one of them is broken.",
    )


def _drivers(session: Session) -> Exit:
    found = installed()
    items = [
        _inspected(scheme, found[scheme]) if scheme in found else _absent(scheme)
        for scheme in sorted({*found, *DISTRIBUTIONS})
    ]
    session.output.rows(COLUMNS, items, "no drivers")
    if not session.output.as_json:
        session.output.say("")
        for item in items:
            may_offer = f"may offer {capabilities(item['capabilities'])}"
            session.output.say(f"{item['scheme']}: {item['problem'] or may_offer}")
    return Exit.DRIVER if any(item["state"] == "broken" for item in items) else Exit.DONE


def _inspected(scheme: str, entries: list[EntryPoint]) -> dict[str, Any]:
    item: dict[str, Any] = {
        "scheme": scheme,
        "distribution": words(map(owner, entries)),
        "version": words(map(version, entries)),
        "contract": None,
        "state": "broken",
        "capabilities": [],
        "problem": None,
    }
    try:
        with redirect_stdout(sys.stderr):  # whatever a driver says while it is imported is no result
            driver = load_driver(scheme)
            offered = sorted(Capability(one) for one in driver.possible_capabilities)
        return {**item, "contract": driver.contract, "state": "ready", "capabilities": [one.value for one in offered]}
    except DriverError as error:
        return {**item, "problem": str(error)}
    except Exception as error:  # what it declares
        return {**item, "problem": f"{type(error).__name__}: {said(error)}; report it to the authors of the driver"}


def _absent(scheme: str) -> dict[str, Any]:
    name = DISTRIBUTIONS[scheme]
    return {
        "scheme": scheme,
        "distribution": name,
        "version": None,
        "contract": None,
        "state": "not installed",
        "capabilities": [],
        "problem": f"pip install {name}",
    }
