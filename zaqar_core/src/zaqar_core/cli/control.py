"""``zaqar pool``, ``zaqar flavor`` and ``zaqar catalogue``: the control plane of an installation."""

from __future__ import annotations

import sys
from typing import Any

from zaqar_core import limits
from zaqar_core.cli.arguments import Commands, Parser, add_page, add_queue, add_yes, pair
from zaqar_core.cli.exits import CommandError, Exit
from zaqar_core.cli.session import Session
from zaqar_core.cli.text import Column, capabilities, words
from zaqar_core.errors import FlavorDoesNotExist, InvalidInput, PoolDoesNotExist, QueueNotMapped
from zaqar_core.models import CatalogueEntry, Flavor, Pool
from zaqar_core.uri import Uri

POOL = (Column("pool"), Column("weight", right=True), Column("flavor"), Column("uri", cut=True))
FLAVOR = (Column("flavor"), Column("pools", words), Column("capabilities", capabilities, cut=True))
ENTRY = (Column("queue"), Column("pool"), Column("project"))
_NOUNS = {"pool": "pool", "flavor": "flavor", "queue": "catalogue entry"}
_URI_HELP = "what connect takes; - reads it from standard input, so that ps does not show its password"


def add(pool: Commands, flavor: Commands, catalogue: Commands) -> None:
    """The verbs."""
    create = pool.command("create", _pool_create, "add a pool; its storage is opened once")
    create.add_argument("name", metavar="POOL", help="its name")
    create.add_argument("pool_uri", metavar="POOL_URI", help=_URI_HELP)
    create.add_argument(
        "--weight", type=int, default=limits.DEFAULT_POOL_WEIGHT, metavar="N", help="its share of new queues (100)"
    )
    create.add_argument("--flavor", default="", metavar="FLAVOR", help="the flavor that it is in")
    create.add_argument("--option", type=pair, action="append", default=[], metavar="NAME=VALUE", help="of the driver")
    update = pool.command("update", _pool_update, "change what is given of a pool")
    update.add_argument("name", metavar="POOL", help="its name")
    update.add_argument("--pool-uri", metavar="POOL_URI", help=_URI_HELP)
    update.add_argument("--weight", type=int, metavar="N", help="its share of new queues, 0 for none")
    update.add_argument("--flavor", metavar="FLAVOR", help="the flavor that it is in, '' for none")
    update.add_argument(
        "--option", type=pair, action="append", metavar="NAME=VALUE", help="all of the driver's options"
    )
    _add_rest(pool, "POOL", "pools", _pool_list, _pool_show, _pool_delete)

    create = flavor.command("create", _flavor_create, "add a flavor of pools that are equal in capabilities")
    update = flavor.command("update", _flavor_update, "let a flavor have these pools and no others")
    for parser in (create, update):
        parser.add_argument("name", metavar="FLAVOR", help="its name")
        parser.add_argument("pools", metavar="POOL", nargs="*", default=[], help="a pool of it")
    _add_rest(flavor, "FLAVOR", "flavors", _flavor_list, _flavor_show, _flavor_delete)

    create = catalogue.command("create", _entry_create, "say which pool holds a queue")
    update = catalogue.command("update", _entry_update, "name another pool for a queue; its messages are not moved")
    for parser in (create, update):
        add_queue(parser)
        parser.add_argument("pool", metavar="POOL", help="the pool")
    listing = catalogue.command("list", _entry_list, "list the entries of the project by queue")
    add_page(listing)
    add_queue(catalogue.command("show", _entry_show, "show which pool holds a queue"))
    delete = catalogue.command("delete", _entry_delete, "forget which pool holds a queue; its messages stay there")
    add_queue(delete)
    add_yes(delete)


def _add_rest(noun: Commands, metavar: str, plural: str, listed: Any, shown: Any, deleted: Any) -> None:
    add_page(noun.command("list", listed, f"list the {plural} by name"))

    def add_name(parser: Parser) -> Parser:
        parser.add_argument("name", metavar=metavar, help="its name")
        return parser

    add_name(noun.command("show", shown, f"show a {metavar.lower()}"))
    add_yes(add_name(noun.command("delete", deleted, f"delete a {metavar.lower()} that nothing needs")))


# --- pools ----------------------------------------------------------------------------------------


def _pool_create(session: Session) -> Exit:
    given, pools = session.arguments, session.storage.pools
    uri, options = _uri(session, given.pool_uri), dict(given.option)
    created = pools.create(given.name, uri=uri, weight=given.weight, flavor=given.flavor, options=options)
    wanted = Pool(given.name, uri, given.weight, given.flavor, options)
    return _created(session, "pool", given.name, created, same=created or pools.get(given.name) == wanted)


def _pool_update(session: Session) -> Exit:
    given = session.arguments
    uri = None if given.pool_uri is None else _uri(session, given.pool_uri)
    options = None if given.option is None else dict(given.option)
    session.storage.pools.update(given.name, uri=uri, weight=given.weight, flavor=given.flavor, options=options)
    session.output.done(f"changed pool {given.name!r}", _pool(session.storage.pools.get(given.name)))
    return Exit.DONE


def _pool_list(session: Session) -> Exit:
    session.output.rows(POOL, map(_pool, session.all(session.storage.pools.list)), "no pools")
    return Exit.DONE


def _pool_show(session: Session) -> Exit:
    session.output.one(POOL, _pool(session.storage.pools.get(session.arguments.name)))
    return Exit.DONE


def _pool_delete(session: Session) -> Exit:
    name = session.arguments.name
    if not session.storage.pools.exists(name):
        raise PoolDoesNotExist(f"no pool is called {name!r}; see pool list")
    session.output.confirm(lambda: f"delete pool {name!r}?", yes=session.arguments.yes)
    session.storage.pools.delete(name)
    return _deleted(session, "pool", name)


def _pool(pool: Pool) -> dict[str, Any]:
    try:
        shown = str(Uri.parse(pool.uri, pool.options))
    except InvalidInput:
        shown = "***"
    return {"pool": pool.name, "weight": pool.weight, "flavor": pool.flavor or None, "uri": shown}


def _uri(session: Session, text: str) -> str:
    uri = sys.stdin.readline().strip() if text == "-" else text
    session.output.hide(uri)
    return uri


# --- flavors --------------------------------------------------------------------------------------


def _flavor_create(session: Session) -> Exit:
    given, flavors = session.arguments, session.storage.flavors
    created = flavors.create(given.name, pools=given.pools)
    same = created or set(flavors.get(given.name).pools) == set(given.pools)
    return _created(session, "flavor", given.name, created, same=same)


def _flavor_update(session: Session) -> Exit:
    given, flavors = session.arguments, session.storage.flavors
    flavors.update(given.name, pools=given.pools)
    session.output.done(f"changed flavor {given.name!r}", _flavor(flavors.get(given.name)))
    return Exit.DONE


def _flavor_list(session: Session) -> Exit:
    session.output.rows(FLAVOR, map(_flavor, session.all(session.storage.flavors.list)), "no flavors")
    return Exit.DONE


def _flavor_show(session: Session) -> Exit:
    session.output.one(FLAVOR, _flavor(session.storage.flavors.get(session.arguments.name)))
    return Exit.DONE


def _flavor_delete(session: Session) -> Exit:
    name = session.arguments.name
    if not session.storage.flavors.exists(name):
        raise FlavorDoesNotExist(f"no flavor is called {name!r}; see flavor list")
    session.output.confirm(lambda: f"delete flavor {name!r}?", yes=session.arguments.yes)
    session.storage.flavors.delete(name)
    return _deleted(session, "flavor", name)


def _flavor(flavor: Flavor) -> dict[str, Any]:
    return {"flavor": flavor.name, "pools": list(flavor.pools), "capabilities": sorted(flavor.capabilities)}


# --- the catalogue --------------------------------------------------------------------------------


def _entry_create(session: Session) -> Exit:
    given, catalogue = session.arguments, session.storage.catalogue
    created = catalogue.insert(given.queue, given.pool)
    same = created or catalogue.get(given.queue).pool == given.pool
    return _created(session, "queue", given.queue, created, same=same)


def _entry_update(session: Session) -> Exit:
    given = session.arguments
    session.storage.catalogue.update(given.queue, given.pool)
    session.output.done(f"changed catalogue entry {given.queue!r}", _entry(session.storage.catalogue.get(given.queue)))
    return Exit.DONE


def _entry_list(session: Session) -> Exit:
    session.output.rows(ENTRY[:2], map(_entry, session.all(session.storage.catalogue.list)), "no catalogue entries")
    return Exit.DONE


def _entry_show(session: Session) -> Exit:
    session.output.one(ENTRY, _entry(session.storage.catalogue.get(session.arguments.queue)))
    return Exit.DONE


def _entry_delete(session: Session) -> Exit:
    name = session.arguments.queue
    if not session.storage.catalogue.exists(name):
        raise QueueNotMapped(f"queue {name!r} is in no pool's catalogue; see catalogue list")
    session.output.confirm(lambda: f"forget which pool holds queue {name!r}?", yes=session.arguments.yes)
    session.storage.catalogue.delete(name)
    return _deleted(session, "queue", name)


def _entry(entry: CatalogueEntry) -> dict[str, Any]:
    return {"queue": entry.queue, "pool": entry.pool, "project": entry.project}


# --- what they share ------------------------------------------------------------------------------


def _created(session: Session, key: str, name: str, created: bool, *, same: bool) -> Exit:
    what = _NOUNS[key]
    if not same:
        raise CommandError(f"{what} {name!r} is there already, and not like this: see show, use update", Exit.REFUSED)
    text = f"created {what} {name!r}" if created else f"{what} {name!r} was there already"
    session.output.done(text, {key: name, "created": created})
    return Exit.DONE


def _deleted(session: Session, key: str, name: str) -> Exit:
    what = _NOUNS[key]
    session.output.done(f"deleted {what} {name!r}", {key: name, "deleted": True})
    return Exit.DONE
