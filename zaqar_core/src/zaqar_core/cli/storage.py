"""``zaqar ping`` and ``zaqar gc``: the storage as a whole."""

from __future__ import annotations

import time

from zaqar_core.cli.arguments import Commands
from zaqar_core.cli.exits import CommandError, Exit
from zaqar_core.cli.session import Session
from zaqar_core.cli.text import Column, capabilities, compact
from zaqar_core.uri import Uri

COLUMNS = (
    Column("uri"),
    Column("seconds", lambda value: f"{value:.3f}s", title="answered in"),
    Column("capabilities", capabilities),
)


def add(commands: Commands) -> None:
    """The verbs."""
    ping = commands.command("ping", _ping, "open the storage, and show what it offers and how it is")
    ping.add_argument("ping_uri", metavar="URI", nargs="?", help="the storage, instead of that of --uri or ZAQAR_URI")
    commands.command("gc", _gc, "reclaim what has expired; never needed for right answers")


def _ping(session: Session) -> Exit:
    given = session.arguments
    began = time.monotonic()
    # The control plane of the environment belongs to the storage of the environment.
    storage = session.open(given.ping_uri, control=given.control) if given.ping_uri else session.storage
    if not storage.is_alive():
        raise CommandError("the storage was opened but does not answer; try again later", Exit.UNAVAILABLE)
    health = {plane: dict(facts) for plane, facts in storage.health().items()}
    if storage.control is storage.driver:
        del health["control"]
    item = {
        "uri": str(Uri.parse(given.ping_uri or session.uri)),
        "seconds": round(time.monotonic() - began, 3),
        "capabilities": sorted(storage.capabilities),
        "health": health,
    }
    facts = {f"{plane} {name}": value for plane, named in health.items() for name, value in named.items()}
    columns = [*COLUMNS, *(Column(name, _fact) for name in facts)]
    session.output.one(columns, item if session.output.as_json else {**item, **facts})
    return Exit.DONE


def _gc(session: Session) -> Exit:
    removed = session.storage.gc()
    session.output.done(f"removed {removed} expired things", {"removed": removed})
    return Exit.DONE


def _fact(value: object) -> str:
    return value if isinstance(value, str) else compact(value)
