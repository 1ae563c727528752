"""``zaqar pool``, ``flavor``, ``catalogue`` and ``subscription``: what they do, and that they show no secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zaqar_conformance.reference import ReferenceDriver
from zaqar_core.cli import control
from zaqar_core.models import Pool

Zaqar = Callable[..., Any]

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def lenient_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage in memory that takes a password and any option, as that of a server does."""
    open_driver = ReferenceDriver.open.__func__  # type: ignore[attr-defined]

    def open_any(kind: Any, /, uri: Any, **times: float) -> Any:
        return open_driver(kind, type(uri)(uri.scheme, uri.hosts, uri.path, {}), **times)

    monkeypatch.setattr(ReferenceDriver, "open", classmethod(open_any))


def test_pools(zaqar: Zaqar) -> None:
    uri = f"memory://me:{SECRET}@one"
    create = ["pool", "create", "one", uri, "--weight=5", "--option", f"api_token={SECRET}", "--option=size=3"]
    assert zaqar(*create).out == "created pool 'one'\n"
    assert zaqar(*create).out == "pool 'one' was there already\n"
    other = zaqar("pool", "create", "one", "memory://other")
    assert (other.code, other.out) == (6, "")
    assert other.err == "zaqar: error: pool 'one' is there already, and not like this: see show, use update\n"
    shown = "memory://***@one?api_token=***&size=3"
    assert zaqar("pool", "list").out.splitlines() == ["POOL  WEIGHT  FLAVOR  URI", f"one        5  -       {shown}"]
    item = {"pool": "one", "weight": 5, "flavor": None, "uri": shown}
    assert zaqar("pool", "show", "one", "--json").documents == [item]
    assert zaqar("pool", "update", "one", "--weight=7").out == "changed pool 'one'\n"
    changed = zaqar("pool", "update", "one", "--pool-uri=-", "--option=a=1", "--json", stdin=b"memory://two\n")
    assert changed.documents == [{**item, "weight": 7, "uri": "memory://two?a=1"}]
    assert zaqar("pool", "delete", "one").code == 2
    assert zaqar("pool", "delete", "one", "--yes").out == "deleted pool 'one'\n"
    assert zaqar("pool", "delete", "one", "--yes").code == zaqar("pool", "show", "one").code == 1
    assert zaqar("pool", "list").err == "zaqar: no pools\n"


def test_a_pool_whose_uri_cannot_be_read_shows_none_of_it() -> None:
    assert control._pool(Pool("one", f"x://{SECRET}?a=1", 1, options={"a": 2}))["uri"] == "***"


def test_a_uri_from_standard_input(zaqar: Zaqar) -> None:
    zaqar("pool", "create", "one", "-", stdin=f"memory://:{SECRET}@one\n".encode())
    assert zaqar("pool", "list", "--json").documents[0]["uri"] == "memory://***@one"


def test_flavors(zaqar: Zaqar) -> None:
    for name in ("a", "b"):
        zaqar("pool", "create", name, f"memory://{name}")
    assert zaqar("flavor", "create", "gold", "b", "a").out == "created flavor 'gold'\n"
    assert zaqar("flavor", "create", "gold", "a", "b").out == "flavor 'gold' was there already\n"
    assert zaqar("flavor", "create", "gold", "a").code == 6
    assert zaqar("flavor", "list").out.splitlines()[1].startswith("gold    a, b   all but FLAT_STATS, ")
    [document] = zaqar("flavor", "show", "gold", "--json").documents
    assert document["pools"] == ["a", "b"]
    assert "CLAIMS" in document["capabilities"]
    assert zaqar("flavor", "update", "gold", "b", "--json").documents[0]["pools"] == ["b"]
    in_use = zaqar("pool", "delete", "b", "--yes")
    assert in_use.code == 6
    assert "is the last of the flavor 'gold'" in in_use.err
    assert zaqar("flavor", "delete", "gold", "--yes", "--json").documents == [{"flavor": "gold", "deleted": True}]
    assert zaqar("flavor", "delete", "gold", "--yes").code == 1
    assert zaqar("flavor", "create", "x", "nosuch").code == 1


def test_the_catalogue(zaqar: Zaqar) -> None:
    for name in ("a", "b"):
        zaqar("pool", "create", name, f"memory://{name}")
    assert zaqar("catalogue", "create", "orders", "a").out == "created catalogue entry 'orders'\n"
    assert zaqar("catalogue", "create", "orders", "a", "--json").documents == [{"queue": "orders", "created": False}]
    assert zaqar("catalogue", "create", "orders", "b").code == 6
    assert zaqar("catalogue", "update", "orders", "b").out == "changed catalogue entry 'orders'\n"
    assert zaqar("catalogue", "list").out == "QUEUE   POOL\norders  b\n"
    assert zaqar("catalogue", "show", "orders", "--project=p").code == 1
    entry = {"queue": "orders", "pool": "b", "project": ""}
    assert zaqar("catalogue", "show", "orders", "--json").documents == [entry]
    assert zaqar("catalogue", "delete", "orders", "--yes").out == "deleted catalogue entry 'orders'\n"
    assert zaqar("catalogue", "delete", "orders", "--yes").code == 1


def test_subscriptions(zaqar: Zaqar) -> None:
    subscriber = f"https://me:{SECRET}@host/hook?token={SECRET}&a=1"
    create = ["subscription", "create", "orders", subscriber, "--options", f'{{"header": "{SECRET}"}}']
    [created] = zaqar(*create, "--json").documents
    assert zaqar(*create).out == f"subscription {created['id']} was there already\n"
    assert zaqar(*create, "--ttl=60").code == 6
    assert zaqar("subscription", "create", "orders", f"mailto:a@b?key={SECRET}", "--ttl=60").code == 0
    assert zaqar("subscription", "create", "orders", f"https://x/#{SECRET}").out.startswith("created subscription ")
    assert zaqar("subscription", "create", "orders", f"hook:me:{SECRET}@host").code == 0
    assert zaqar("subscription", "confirm", "orders", created["id"]).out == f"confirmed subscription {created['id']}\n"
    listed = zaqar("subscription", "list", "orders", "--json")
    assert {one["subscriber"]: (one["confirmed"], one["options"], one["ttl"]) for one in listed.documents} == {
        "https://***@host/hook?token=***&a=1": (True, {"header": "***"}, None),
        "mailto:a@b": (False, {}, 60),
        "https:***": (False, {}, None),
        "hook:***": (False, {}, None),
    }
    assert SECRET not in listed.out + zaqar("subscription", "list", "orders").out
    zaqar("subscription", "confirm", "orders", created["id"], "--revoke")
    assert "yes" not in zaqar("subscription", "list", "orders").out
    assert zaqar("subscription", "delete", "orders", created["id"], "--yes").code == 0
    gone = zaqar("subscription", "delete", "orders", created["id"], "--yes")
    assert (gone.code, gone.err.count("\n")) == (1, 1)
    assert zaqar("subscription", "list", "none").err == "zaqar: no subscriptions on queue 'none'\n"
