"""``zaqar queue post``: one message, or lines of standard input in batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zaqar_core import Capability, Storage
from zaqar_core.cli import lines
from zaqar_core.errors import OutcomeUnknown, StorageUnavailable
from zaqar_core.messages import Messages

Zaqar = Callable[..., Any]


def bodies(zaqar: Zaqar) -> list[Any]:
    return [one["body"] for one in zaqar("queue", "peek", "orders", "--json", "--limit=100000").documents]


def ndjson(*values: object) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def test_one_message(zaqar: Zaqar) -> None:
    posted = zaqar("queue", "post", "orders", '{"n": [1, null]}', "--dedup-id=a", "--header=k=v=w", "--json")
    [message] = zaqar("queue", "peek", "orders", "--json").documents
    assert posted.documents == [{"id": message["id"]}]
    assert (message["body"], message["headers"]) == ({"n": [1, None]}, {"k": "v=w"})
    assert zaqar("queue", "post", "orders", "-5").code == 0
    assert zaqar("queue", "post", "orders", "true", "--dedup-id=a").out.strip() == message["id"]
    assert bodies(zaqar) == [{"n": [1, None]}, -5]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["{n: 1}"], "BODY is no JSON: Expecting property name enclosed in double quotes at column 2; quote it"),
        (["[" * 100_000], "BODY is no JSON that can be read: "),
        (["NaN"], "message 0: body is nan; JSON knows only finite numbers"),
        (["1", "--ttl=-1"], "message 0: ttl is -1.0 s; it must lie between"),
        (["1", "--envelope"], "--envelope is for lines of standard input"),
        (["-", "--dedup-id=a"], "--dedup-id is for one message"),
        (["-", "--batch=0"], "--batch is 0"),
        (["1", "--header", "novalue"], "argument --header: write NAME=VALUE; see zaqar queue post --help"),
        (["1", "--text", "--envelope"], "argument --envelope: not allowed with argument --text"),
    ],
)
def test_wrong_input(zaqar: Zaqar, arguments: list[str], error: str) -> None:
    done = zaqar("queue", "post", "orders", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"zaqar: error: {error}")
    assert done.err.count("\n") == 1
    assert zaqar("queue", "peek", "orders").code == 1


def test_lines_of_json(zaqar: Zaqar) -> None:
    done = zaqar("queue", "post", "orders", "-", stdin=b'\xef\xbb\xbf{"n": 1}\r\n\n  \n"\xc3\xa9"\n[2]')
    assert (done.code, done.out, done.err) == (0, "posted 3 messages to queue 'orders'\n", "")
    assert bodies(zaqar) == [{"n": 1}, "é", [2]]
    assert zaqar("queue", "post", "orders", "-").out == "posted 0 messages to queue 'orders'\n"


def test_lines_of_text(zaqar: Zaqar) -> None:
    zaqar("queue", "post", "orders", "-", "--text", "--header=from=log", stdin=b'one\n{"not": json\n')
    assert bodies(zaqar) == ["one", '{"not": json']
    assert zaqar("queue", "post", "orders", "-", "--text", stdin=b"a\n\xff\n").code == 2


def test_ids_and_lines_as_json(zaqar: Zaqar) -> None:
    done = zaqar("queue", "post", "orders", "-", "--json", "--batch=2", stdin=b"1\n\n2\n3\n")
    ids = [one["id"] for one in zaqar("queue", "peek", "orders", "--json").documents]
    assert done.documents == [{"line": n, "id": one} for n, one in zip((1, 3, 4), ids, strict=True)]


def test_envelopes_over_the_defaults_of_the_arguments(zaqar: Zaqar) -> None:
    lines = ndjson(
        {"body": 1},
        {"body": 2, "ttl": 60, "headers": {"b": "2"}, "dedup_id": "x"},
        {"body": 3, "dedup_id": "x"},
        {"body": 4, "ttl": None, "delay": 30},
    )
    zaqar("queue", "post", "orders", "-", "--envelope", "--ttl=90", "--header=a=1", stdin=lines)
    found = zaqar("queue", "peek", "orders", "--json", "--delayed").documents
    assert [(one["body"], one["ttl"], one["headers"]) for one in found] == [
        (1, 90, {"a": "1"}),
        (2, 60, {"a": "1", "b": "2"}),
        (4, 3600, {"a": "1"}),
    ]


def test_what_one_queue_shows_another_takes(zaqar: Zaqar) -> None:
    zaqar("queue", "post", "dead", "-", "--ttl=90", "--header=a=1", stdin=b"1\n2\n")
    moved = zaqar("queue", "claim", "dead", "--json")
    zaqar("queue", "post", "orders", "-", "--envelope", stdin=moved.out.encode())
    found = zaqar("queue", "peek", "orders", "--json").documents
    assert [(one["body"], one["headers"]) for one in found] == [(1, {"a": "1"}), (2, {"a": "1"})]


@pytest.mark.parametrize(
    ("line", "options", "error"),
    [
        (b"{", [], "no JSON: Expecting property name enclosed in double quotes at column 2; each line is one"),
        (b"\xff", [], "no UTF-8: "),
        (b"NaN", [], "body is nan; JSON knows only finite numbers"),
        (b'"' + b"x" * 300_000 + b'"', [], "body has 300002 bytes; at most 262144"),
        (b"[1]", ["--envelope"], "no object with a body, as --envelope needs it"),
        (b'{"ttl": 1}', ["--envelope"], "no object with a body"),
        (b'{"body": 1, "tll": 1}', ["--envelope"], "unknown tll; an envelope has body, ttl, delay"),
        (b'{"body": 1, "ttl": "1"}', ["--envelope"], "ttl is '1'; it is a finite number of seconds"),
        (b'{"body": 1, "headers": [1]}', ["--envelope"], "headers is [1]; pass a dict"),
        (b'{"body": 1, "headers": {"a": 1}}', ["--envelope"], "headers: 'a' has the value 1"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_of_its_batch_is_posted(
    zaqar: Zaqar, line: bytes, options: list[str], error: str
) -> None:
    good = [b'{"body": 1}'] * 5
    stdin = b"\n".join([*good, b"", line, *good])
    done = zaqar("queue", "post", "orders", "-", "--batch=2", *options, stdin=stdin)
    assert done.code == 2
    assert done.err.startswith(f"zaqar: error: line 7: {error}")
    assert done.err.endswith("; lines up to 4 were posted (4 messages), nothing else was\n")
    assert len(bodies(zaqar)) == 4


def test_a_wrong_first_line(zaqar: Zaqar) -> None:
    done = zaqar("queue", "post", "orders", "-", "--json", stdin=b"1\n2\n}\n")
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("; nothing was posted\n")


def test_batches_stay_within_what_the_queue_allows(zaqar: Zaqar) -> None:
    zaqar("queue", "create", "orders", '{"_max_messages_post_size": 10}')
    zaqar("queue", "post", "orders", "-", stdin=b"12345678\n" * 5)
    assert len(bodies(zaqar)) == 5
    done = zaqar("queue", "post", "orders", "-", stdin=b'1\n2\n"12345678901"\n4\n')
    assert done.code == 2
    assert done.err.startswith("zaqar: error: line 3: a post of 13 bytes of bodies; at most 10")
    assert done.err.endswith("lines up to 2 were posted (2 messages), nothing else was\n")


def test_batches_end_at_a_number_of_bytes(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    post = Messages.post

    def measured(self: Messages, queue: str, messages: Any) -> list[str]:
        sizes.append(len(messages))
        return post(self, queue, messages)

    monkeypatch.setattr(lines, "_BATCH_BYTES", 10)
    monkeypatch.setattr(Messages, "post", measured)
    zaqar("queue", "post", "orders", "-", stdin=b"1234\n" * 5)
    assert sizes == [2, 2, 1]


def test_a_line_without_end_is_refused(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_LONGEST", 1000)
    done = zaqar("queue", "post", "orders", "-", stdin=b"1\n" + b"x" * 1001)
    assert done.code == 2
    assert done.err.startswith("zaqar: error: line 2: longer than 0 MiB")


# --- a storage that fails in the middle -----------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """The second post of a process raises."""
    post = Messages.post
    calls: Iterator[int] = iter(range(100))

    def second_fails(self: Messages, queue: str, messages: Any) -> list[str]:
        if next(calls) == 1:
            raise error
        return post(self, queue, messages)

    monkeypatch.setattr(Messages, "post", second_fails)


@pytest.mark.parametrize(
    ("error", "code", "rest"),
    [
        (StorageUnavailable("gone"), 3, "nothing else was"),
        (OutcomeUnknown("cut"), 4, "lines 3 to 4 may have been posted"),
    ],
)
def test_what_became_of_which_lines(
    zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, rest: str
) -> None:
    failing(monkeypatch, error)
    done = zaqar("queue", "post", "orders", "-", "--batch=2", "--json", stdin=b"1\n2\n3\n4\n5\n")
    assert done.code == code
    assert [one["line"] for one in done.documents] == [1, 2]
    assert done.err == f"zaqar: error: {error}; lines up to 2 were posted (2 messages), {rest}\n"


def test_without_atomic_posts_a_failed_batch_may_have_left_something(
    zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "capabilities", frozenset(Capability) - {Capability.ATOMIC_POST})
    failing(monkeypatch, StorageUnavailable("gone"))
    done = zaqar("queue", "post", "orders", "-", "--batch=2", stdin=b"1\n2\n3\n4\n5\n")
    assert done.err.endswith("lines up to 2 were posted (2 messages), lines 3 to 4 may have been posted\n")


def test_an_unknown_outcome_of_the_first_batch(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Messages, "post", lambda *_: (_ for _ in ()).throw(OutcomeUnknown("cut")))
    done = zaqar("queue", "post", "orders", "-", stdin=b"1\n2\n")
    assert done.err == "zaqar: error: cut; lines 1 to 2 may have been posted\n"


def test_an_interruption_says_what_was_posted(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    done = zaqar("queue", "post", "orders", "-", "--batch=2", stdin=b"1\n2\n3\n4\n5\n")
    assert (done.code, done.out) == (130, "")
    assert done.err == "zaqar: lines up to 2 were posted (2 messages), lines 3 to 4 may have been posted\n"
