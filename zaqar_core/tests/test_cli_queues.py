"""``zaqar queue`` and ``zaqar message`` on real storages, in this process."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from zaqar_core import Limits, connect
from zaqar_core.dead_letters import DeadLetters
from zaqar_core.errors import OutcomeUnknown, StorageUnavailable
from zaqar_core.messages import Messages
from zaqar_core.registry import load_driver

Zaqar = Callable[..., Any]


@pytest.fixture(autouse=True, params=["sqlite", "memory"])
def storage(request: pytest.FixtureRequest, zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here runs on both."""
    if request.param == "memory":
        monkeypatch.setenv("ZAQAR_URI", f"memory://{secrets.token_hex(8)}")


def post(zaqar: Zaqar, *bodies: object) -> list[str]:
    return [zaqar("queue", "post", "orders", json.dumps(body)).out.strip() for body in bodies]


# --- queues ---------------------------------------------------------------------------------------


def test_create_is_done_once_and_refused_only_for_other_metadata(zaqar: Zaqar) -> None:
    first = zaqar("queue", "create", "orders", '{"a": 1}')
    assert (first.code, first.out, first.err) == (0, "created queue 'orders'\n", "")
    for again in (["orders"], ["orders", '{"a": 1}']):
        done = zaqar("queue", "create", *again)
        assert (done.code, done.out) == (0, "queue 'orders' was there already\n")
    other = zaqar("queue", "create", "orders", '{"a": 2}')
    assert other.code == 6
    assert other.err.startswith("zaqar: error: queue 'orders' is there already, with other metadata")
    assert zaqar("queue", "create", "more", "--json").documents == [{"queue": "more", "created": True}]


def test_list(zaqar: Zaqar) -> None:
    nothing = zaqar("queue", "list")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "zaqar: no queues\n")
    for name in ("b", "a", "ab"):
        zaqar("queue", "create", name, json.dumps({"of": name}))
    zaqar("queue", "post", "a", "1")
    assert zaqar("queue", "list").out == "QUEUE\na\nab\nb\n"
    assert zaqar("queue", "list", "--json", "--prefix", "a").documents == [{"queue": "a"}, {"queue": "ab"}]
    assert zaqar("queue", "list", "--stats", "--detailed", "--limit=1").out.splitlines() == [
        "QUEUE  FREE  CLAIMED  DELAYED  TOTAL  METADATA",
        'a         1        0        0      1  {"of": "a"}',
    ]
    assert zaqar("queue", "list", "--detailed", "--json").documents[2] == {"queue": "b", "metadata": {"of": "b"}}


def test_a_listing_that_was_limited_says_how_to_go_on(zaqar: Zaqar) -> None:
    for name in "abc":
        zaqar("queue", "create", name)
    part = zaqar("queue", "list", "--limit", "2")
    assert part.out == "QUEUE\na\nb\n"
    assert part.err == "zaqar: there are more: --marker=b\n"
    rest = zaqar("queue", "list", "--marker=b")
    assert (rest.out, rest.err) == ("QUEUE\nc\n", "")
    assert zaqar("queue", "list", "--limit=0").code == 2


def test_show_stats_and_metadata(zaqar: Zaqar) -> None:
    zaqar("queue", "create", "orders", '{"_default_message_ttl": 60}')
    first, second = post(zaqar, 1, 2)
    zaqar("queue", "claim", "orders", "--limit=1")
    assert zaqar("queue", "show", "orders").out.splitlines() == [
        "queue     orders",
        'metadata  {"_default_message_ttl": 60}',
        "free      1",
        "claimed   1",
        "delayed   0",
        "total     2",
    ]
    stats = zaqar("queue", "stats", "orders")
    assert stats.out.splitlines()[5].startswith(f"oldest   {first}, 0")
    [document] = zaqar("queue", "stats", "orders", "--json").documents
    assert document["newest"]["id"] == second
    assert (document["free"], document["claimed"], document["total"]) == (1, 1, 2)
    assert zaqar("queue", "set-metadata", "orders", '{"b": 1}').out == "changed queue 'orders'\n"
    assert zaqar("queue", "show", "orders", "--json").documents[0]["metadata"] == {"b": 1}


def test_update_metadata_leaves_other_keys(zaqar: Zaqar) -> None:
    zaqar("queue", "create", "orders", '{"kept": 1, "old": 2, "gone": 3}')
    done = zaqar("queue", "update-metadata", "orders", '{"old": 4, "new": 5}', "--remove", "gone")
    assert (done.code, done.out) == (0, "changed queue 'orders'\n")
    expected = {"kept": 1, "old": 4, "new": 5}
    assert zaqar("queue", "show", "orders", "--json").documents[0]["metadata"] == expected
    misspelt = zaqar("queue", "update-metadata", "orders", '{"_max_claims_count": 3}')
    assert misspelt.code == 2
    assert "did you mean '_max_claim_count'?" in misspelt.err
    nothing = zaqar("queue", "update-metadata", "orders")
    assert (nothing.code, nothing.err) == (
        2,
        "zaqar: error: nothing to change: write METADATA, a JSON object of keys to set, or --remove KEY\n",
    )
    assert zaqar("queue", "show", "orders", "--json").documents[0]["metadata"] == expected


def test_purge_and_delete(zaqar: Zaqar) -> None:
    post(zaqar, 1, 2)
    refused = zaqar("queue", "purge", "orders")
    assert (refused.code, refused.err) == (2, "zaqar: error: there is no terminal to ask at: pass --yes\n")
    assert zaqar("queue", "purge", "orders", "--yes").out == "purged queue 'orders', which had 2 messages\n"
    assert zaqar("queue", "stats", "orders", "--json").documents[0]["total"] == 0
    assert zaqar("queue", "delete", "orders", "--yes", "--json").documents == [{"queue": "orders", "deleted": True}]
    assert zaqar("queue", "list").out == ""


@pytest.mark.parametrize(
    "command",
    [
        "show",
        "stats",
        "delete --yes",
        "purge --yes",
        "set-metadata {}",
        "update-metadata {}",
        "update-metadata --remove=a",
    ],
)
def test_a_queue_that_is_not_there(zaqar: Zaqar, command: str) -> None:
    verb, *rest = command.split()
    done = zaqar("queue", verb, "nosuch", *rest)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("zaqar: error: no queue 'nosuch' is registered")


# --- messages -------------------------------------------------------------------------------------


def test_peek_shows_and_leaves(zaqar: Zaqar) -> None:
    assert zaqar("queue", "peek", "orders").code == 1
    zaqar("queue", "post", "orders", "--text", "a\nb\x1b[2J日本")
    zaqar("queue", "post", "orders", '{"n": 1}', "--header", "kind=x", "--client-id", "me", "--ttl=60")
    shown = zaqar("queue", "peek", "orders")
    lines = shown.out.splitlines()
    assert shown.code == 0
    assert [line.split(None, 4)[4] for line in lines] == ["BODY", '"a\\nb\\u001b[2J日本"', '{"n": 1}']
    documents = zaqar("--json", "queue", "peek", "orders").documents
    assert [document["body"] for document in documents] == ["a\nb\x1b[2J日本", {"n": 1}]
    second = documents[1]
    assert (second["headers"], second["client_id"], second["ttl"]) == ({"kind": "x"}, "me", 60)
    assert (second["claim_id"], second["claim_count"]) == (None, 0)


def test_peek_goes_through_pages_and_widens(zaqar: Zaqar) -> None:
    zaqar("queue", "post", "orders", "-", stdin=b"\n".join(b"%d" % n for n in range(25)))
    zaqar("queue", "post", "orders", "99", "--delay=60")
    zaqar("queue", "claim", "orders", "--limit=5")

    def bodies(*options: str) -> list[int]:
        return [one["body"] for one in zaqar("queue", "peek", "orders", "--json", *options).documents]

    assert bodies() == list(range(5, 15))
    assert bodies("--limit=100") == list(range(5, 25))
    assert bodies("--limit=100", "--claimed", "--delayed") == [*range(25), 99]
    part = zaqar("queue", "peek", "orders", "--json", "--limit=3")
    marker = part.err.removeprefix("zaqar: there are more: ").strip()
    assert bodies(marker, "--limit=2") == [8, 9]


def test_pop(zaqar: Zaqar) -> None:
    post(zaqar, 1, 2, 3)
    assert [one["body"] for one in zaqar("queue", "pop", "orders", "--limit=2", "--json").documents] == [1, 2]
    assert zaqar("queue", "pop", "orders").out.splitlines()[1].endswith("  3")
    empty = zaqar("queue", "pop", "orders")
    assert (empty.code, empty.out, empty.err) == (1, "", "zaqar: queue 'orders' is empty\n")


def test_claim_and_acknowledge_all(zaqar: Zaqar) -> None:
    post(zaqar, 1, 2)
    shown = zaqar("queue", "claim", "orders", "--ttl=120")
    title, *_ = shown.out.splitlines()
    claim = title.split()[1]
    assert title == f"claim {claim} for 2m"
    nothing = zaqar("queue", "claim", "orders", "--wait=0.05")
    assert (nothing.code, nothing.err) == (1, "zaqar: queue 'orders' has nothing to claim\n")
    assert zaqar("queue", "ack", "orders", claim).out == "acknowledged 2 messages\n"
    gone = zaqar("queue", "ack", "orders", claim)
    assert gone.code == 1
    assert "no live claim" in gone.err


def test_defaults_follow_limits_that_are_narrower(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = Limits(
        max_messages_per_page=3,
        max_messages_per_claim=3,
        max_messages_per_pop=3,
        max_messages_per_post=3,
        max_queues_per_page=3,
        max_ids_per_call=3,
        max_message_ttl=30,
        max_claim_ttl=30,
        max_claim_grace=30,
    )
    driver = load_driver(os.environ["ZAQAR_URI"].partition(":")[0])
    monkeypatch.setattr(driver, "limits", property(lambda self: narrow))
    assert zaqar("queue", "post", "orders", "-", stdin=b"1\n2\n3\n4\n5\n").code == 0
    assert len(zaqar("queue", "peek", "orders", "--json").documents) == 5
    assert len(zaqar("queue", "pop", "orders", "--json").documents) == 1
    claimed = zaqar("queue", "claim", "orders", "--json").documents
    assert len(claimed) == 3
    claim = claimed[0]["claim_id"]
    assert zaqar("queue", "renew", "orders", claim, "--json").documents[0] == {
        "claim_id": claim,
        "ttl": 30.0,
        "grace": 30.0,
    }
    assert zaqar("queue", "ack", "orders", claim).code == 0
    for name in "abcd":
        zaqar("queue", "create", name)
    for verb in (["queue", "list"], ["pool", "list"], ["flavor", "list"], ["catalogue", "list"]):
        assert zaqar(*verb).code == 0


def test_acknowledging_a_claim_deletes_nothing_that_it_may_not_have_handed_out(
    zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds a dead letter that could not be moved, and a message of its own."""
    [dead] = post(zaqar, "dead")
    for _ in range(2):
        zaqar("queue", "release", "orders", zaqar("queue", "claim", "orders", "--json").documents[0]["claim_id"])
    zaqar("queue", "set-metadata", "orders", '{"_max_claim_count": 2, "_dead_letter_queue": "orders-dead"}')
    [healthy] = post(zaqar, "healthy")

    def full(self: DeadLetters, *arguments: Any, **named: Any) -> bool:
        return False

    with monkeypatch.context() as patch:
        patch.setattr(DeadLetters, "move", full)
        [message] = zaqar("queue", "claim", "orders", "--json").documents
    assert message["id"] == healthy
    claim = message["claim_id"]
    assert zaqar("queue", "renew", "orders", claim).code == 0
    done = zaqar("queue", "ack", "orders", claim)
    assert (done.code, done.out) == (6, "acknowledged 1 message\n")
    assert f"may be dead letters that could not be moved: {dead};" in done.err
    assert [each["id"] for each in zaqar("message", "get", "orders", dead, "--json").documents] == [dead]
    assert zaqar("queue", "ack", "orders", claim, dead).out == "acknowledged 1 message\n"


def test_claim_and_acknowledge_what_came_through_a_pipe(zaqar: Zaqar) -> None:
    post(zaqar, 1, 2, 3)
    one = zaqar("queue", "claim", "orders", "--limit=1", "--json")
    two = zaqar("queue", "claim", "orders", "--limit=2", "--json")
    assert {document["claim_id"] for document in one.documents + two.documents} != {None}
    done = zaqar("queue", "ack", "orders", "-", "--json", stdin=(one.out + "\n" + two.out).encode())
    assert done.documents == [{"acknowledged": 3, "refused": []}]
    assert zaqar("queue", "stats", "orders", "--json").documents[0]["total"] == 0


@pytest.mark.parametrize("line", [b"[1]", b'{"id": "x"}', b'{"id": "x", "claim_id": null}', b"{", b"\xff"])
def test_acknowledging_lines_that_are_no_claimed_messages(zaqar: Zaqar, line: bytes) -> None:
    post(zaqar, 1)
    claimed = zaqar("queue", "claim", "orders", "--json").out.encode()
    done = zaqar("queue", "ack", "orders", "-", stdin=b"\n" + line + b"\n" + claimed)
    assert done.code == 2
    assert done.err.startswith("zaqar: error: line 2: ")
    assert done.err.endswith("; before it, 0 messages were acknowledged\n")


@pytest.mark.parametrize(("error", "code"), [(StorageUnavailable, 3), (OutcomeUnknown, 4)])
def test_an_error_between_lines_says_what_was_acknowledged(
    zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch, error: type[Exception], code: int
) -> None:
    post(zaqar, 1)
    claimed = zaqar("queue", "claim", "orders", "--json").out.encode()

    def fail(*given: object, **options: object) -> None:
        raise error("no server")

    monkeypatch.setattr(Messages, "bulk_delete", fail)
    done = zaqar("queue", "ack", "orders", "-", stdin=claimed)
    assert (done.code, done.out) == (code, "")
    assert done.err == "zaqar: error: no server; before it, 0 messages were acknowledged\n"


def test_acknowledging_some_and_those_of_another_claim(zaqar: Zaqar) -> None:
    post(zaqar, 1, 2, 3)
    mine = zaqar("queue", "claim", "orders", "--limit=2", "--json").documents
    other = zaqar("queue", "claim", "orders", "--json").documents
    claim = mine[0]["claim_id"]
    done = zaqar("queue", "ack", "orders", claim, mine[0]["id"], other[0]["id"])
    assert (done.code, done.out) == (6, "acknowledged 1 message\n")
    assert done.err == (
        f"zaqar: 1 of 2 were refused, since no live claim that was named holds them: {other[0]['id']}\n"
    )
    assert zaqar("queue", "ack", "orders", "-", "x").code == 2


def test_release_and_renew(zaqar: Zaqar) -> None:
    post(zaqar, 1, 2, 3)
    messages = zaqar("queue", "claim", "orders", "--json").documents
    claim = messages[0]["claim_id"]
    assert zaqar("queue", "renew", "orders", claim, "--ttl=600").out == f"claim {claim} ends in 10m\n"
    assert zaqar("queue", "release", "orders", claim, messages[1]["id"]).out == (
        f"released 1 message of claim {claim}\n"
    )
    assert [one["body"] for one in zaqar("queue", "peek", "orders", "--json").documents] == [2]
    assert zaqar("queue", "release", "orders", claim, "--delay=60", "--json").documents == [
        {"claim_id": claim, "released": True}
    ]
    [stats] = zaqar("queue", "stats", "orders", "--json").documents
    assert (stats["free"], stats["delayed"]) == (1, 2)
    assert zaqar("queue", "renew", "orders", claim).code == 1


def test_a_release_says_what_it_released(zaqar: Zaqar) -> None:
    post(zaqar, 1, 2, 3)
    [first, second] = zaqar("queue", "claim", "orders", "--limit=2", "--json").documents
    claim = first["claim_id"]
    some = zaqar("queue", "release", "orders", claim, first["id"], "nosuch")
    assert (some.code, some.out) == (1, f"released 1 message of claim {claim}\n")
    assert some.err == f"zaqar: not held by claim {claim}: nosuch\n"
    rest = zaqar("queue", "release", "orders", claim)
    assert (rest.code, rest.out) == (0, f"released 1 message of claim {claim}\n")
    assert second["claim_id"] == claim
    for queue, name in (("orders", claim), ("orders", "nosuch"), ("nosuch", claim)):
        none = zaqar("queue", "release", queue, name, "--json")
        assert (none.code, none.out) == (1, "")
        why = f"nothing was released: no live claim {name!r} on queue {queue!r} holds messages; it may have ended"
        assert none.err == f"zaqar: error: {why}\n"


def test_message_get_and_delete(zaqar: Zaqar) -> None:
    first, second = post(zaqar, {"n": 1}, 2)
    shown = zaqar("message", "get", "orders", first, second, "nosuch")
    assert shown.code == 1
    assert shown.err == "zaqar: not in queue 'orders': nosuch\n"
    assert shown.out.splitlines()[0] == f"id         {first}"
    assert '\nbody       {"n": 1}\n\nid ' in shown.out
    claim = zaqar("queue", "claim", "orders", "--limit=1", "--json").documents[0]["claim_id"]
    refused = zaqar("message", "delete", "orders", first, second)
    assert (refused.code, refused.out) == (6, "deleted 1 message\n")
    assert zaqar("message", "delete", "orders", first, "--claim", claim).code == 0
    assert zaqar("message", "delete", "orders", first, "--json").documents == [{"deleted": 1, "refused": []}]
    assert zaqar("message", "get", "orders", first, "--json").out == ""


@pytest.mark.parametrize("message_id", ["-iigyj8vq3loGabc", "--iigYj8vq3loG_ab", "-A-_-A-_-A-_-A-_x"])
def test_an_id_may_start_with_a_dash(zaqar: Zaqar, message_id: str) -> None:
    missing = zaqar("message", "get", "orders", message_id)
    assert (missing.code, missing.err) == (1, f"zaqar: not in queue 'orders': {message_id}\n")
    assert zaqar("message", "delete", "orders", "x", "--claim", message_id).code == 0
    assert f"no live claim {message_id!r} on queue" in zaqar("queue", "release", "orders", message_id).err


def test_gc_and_ping(zaqar: Zaqar) -> None:
    assert zaqar("gc", "--json").documents == [{"removed": 0}]
    assert zaqar("gc").out == "removed 0 expired things\n"
    assert zaqar("ping").out.startswith("uri ")
    [document] = zaqar("ping", "--json").documents
    with connect(document["uri"]) as storage:
        assert document["capabilities"] == sorted(storage.capabilities)
    assert list(document["health"]) == ["data"]
    both = zaqar("ping", document["uri"], "--control", "memory://another", "--json").documents[0]
    assert list(both["health"]) == ["data", "control"]
