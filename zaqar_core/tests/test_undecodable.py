"""A body that this client cannot decode is delivered as a message whose ``body`` raises, and spoils nothing else."""

from __future__ import annotations

import base64
import copy
import dataclasses
import gc
import json
import logging
import pickle
import secrets
import sys
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import zaqar_core
from zaqar_core import ClaimedMessage, Message, Queue, Storage
from zaqar_core.context import Context
from zaqar_core.contract import EncodedMessage, QueueKey, StoredMessage
from zaqar_core.errors import CodecError

ZIPPED = b"\0zip\0" + zlib.compress(b"1")
KINDS = {
    "a codec that the reader lacks": (b"\0brotli\0\x0b", "written with the codec 'brotli'; connect with codecs="),
    "a codec that fails": (b"\0zip\0garbage", "codec 'zip' failed to decode a body: error"),
    "a codec that returns no bytes": (b"\0text\0abc", "codec 'text' returned str from decode"),
    "a codec whose output is not JSON": (b"\0zip\0" + zlib.compress(b"<xml>"), "not JSON"),
    "a codec name that is damaged": (b"\0z\xffp\0abc", "names of the codecs in front of a body are damaged"),
    "a list of codecs without an end": (b"\0zip", "names of the codecs in front of a body are damaged"),
    "nothing": (b"", "not JSON"),
    "foreign bytes": (b"\x80\x04\x95pickle", "not UTF-8"),
    "text that is not JSON": (b"hello", "not JSON: Expecting value at character 0"),
    "a number that JSON lacks": (b"[NaN]", "NaN is not JSON"),
    "a number larger than any float": (b"[1e999]", "a number is larger than any float"),
    "JSON too deep for the parser": (b"[" * 100_000 + b"]" * 100_000, "nest deeper than 128 levels"),
    "JSON deeper than a body may be": (b"[" * 129 + b"]" * 129, "nest deeper than 128 levels"),
    "an integer of more digits than are read": (b"9" * 10_000, "4300 digits"),
}
QUEUE = QueueKey("", "q")


class Zip:
    name = "zip"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Text:
    name = "text"

    def encode(self, data: bytes) -> bytes:
        return data

    def decode(self, data: bytes) -> Any:
        return data.decode()


@pytest.fixture
def storage() -> Iterator[Storage]:
    with zaqar_core.connect(f"memory://{secrets.token_hex(8)}", codecs=[Text(), Zip()]) as storage:
        yield storage


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> tuple[bytes, str]:
    return request.param  # type: ignore[no-any-return]


def put(storage: Storage, *bodies: bytes) -> list[str]:
    """Post these bytes as another program would have: past the core."""
    assert storage.driver.messages is not None
    posted = [EncodedMessage(body, 60.0, headers={"n": str(n)}) for n, body in enumerate(bodies)]
    storage.queues.create("q")
    return storage.driver.messages.post(QUEUE, posted, client_id="another")


def bad() -> Message:
    """One that outlives its storage."""
    with zaqar_core.connect(f"memory://{secrets.token_hex(8)}") as storage:
        put(storage, b"\0zip\0garbage")
        return storage.messages.first("q")


def see(messages: Sequence[Message], ids: Sequence[str], raw: bytes, reason: str) -> None:
    """The first and the last are decoded, the one between them is there and says why it is not."""
    assert [message.id for message in messages] == ids
    first, middle, last = messages
    assert (first.body, first.raw, last.body, last.raw) == (1, None, 3, None)
    assert (middle.raw, middle.headers, middle.client_id) == (raw, {"n": "1"}, "another")
    for _ in range(2):
        with pytest.raises(CodecError, match=reason.replace("[", r"\[")):
            _ = middle.body


# --- every way to get one -------------------------------------------------------------------------


READS: dict[str, Callable[[Storage, list[str]], Sequence[Message]]] = {
    "list": lambda storage, ids: storage.messages.list("q").items,
    "bulk_get": lambda storage, ids: storage.messages.bulk_get("q", ids),
    "get": lambda storage, ids: [storage.messages.get("q", one) for one in ids],
    "pop": lambda storage, ids: storage.messages.pop("q", 10),
    "claims.create": lambda storage, ids: storage.claims.create("q").messages,
    "claims.get": lambda storage, ids: storage.claims.get("q", storage.claims.create("q").id or "").messages,
    "handle.claim": lambda storage, ids: [*storage.queue("q").claim()],
    "handle.consume": lambda storage, ids: [*storage.queue("q").consume(wait=0, limit=10)][:3],
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_it_is_delivered_among_the_others(
    storage: Storage, kind: tuple[bytes, str], read: Callable[[Storage, list[str]], Sequence[Message]]
) -> None:
    raw, reason = kind
    ids = put(storage, b"1", raw, b"3")
    if read is READS["handle.consume"]:
        see(_consumed(storage.queue("q")), ids, raw, reason)
    else:
        see(read(storage, ids), ids, raw, reason)


def _consumed(queue: Queue) -> list[Message]:
    seen: list[Message] = []
    for message in queue.consume(wait=0):
        seen.append(message)
        message.delete()
    assert queue.stats().total == 0
    return seen


def test_pages_go_past_it(storage: Storage) -> None:
    ids = put(storage, b"hello", b"1", b"\xff", b"2", b"\0no\0")
    seen: list[Message] = []
    marker, more = None, True
    while more:
        page = storage.messages.list("q", limit=1, marker=marker)
        seen += page.items
        marker, more = page.marker, page.more
    assert [message.id for message in seen] == ids
    assert [message.raw for message in seen] == [b"hello", None, b"\xff", None, b"\0no\0"]


def test_first_gives_it(storage: Storage) -> None:
    put(storage, b"hello", b"1", b"bye")
    assert storage.messages.first("q").raw == b"hello"
    assert storage.messages.first("q", newest=True).raw == b"bye"


def test_a_reader_with_the_codec_reads_it(storage: Storage) -> None:
    [message_id] = put(storage, ZIPPED)
    assert (storage.messages.get("q", message_id).body, storage.messages.get("q", message_id).raw) == (1, None)


def test_more_digits_can_be_allowed(storage: Storage) -> None:
    [message_id] = put(storage, b"9" * 5_000)
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(6_000)
    try:
        assert storage.messages.get("q", message_id).body == 10**5_000 - 1
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("depth", [127, 128])
def test_what_may_be_posted_is_read(storage: Storage, depth: int) -> None:
    body: Any = 0
    for _ in range(depth):
        body = [body, "[" * 200]
    put(storage, json.dumps(body).encode())
    assert storage.messages.first("q").body == body


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"body": "2"}, "the driver returned a body of type str instead of bytes"),
        ({"body": None}, "the driver returned a body of type NoneType"),
        ({"body": bytearray(b"2")}, "the driver returned a body of type bytearray"),
        ({"headers": {"n": 1}}, "the driver returned headers that are not a mapping of strings to strings"),
        ({"headers": {1: "n"}}, "the driver returned headers that"),
        ({"headers": None}, "the driver returned headers that"),
        ({"headers": ["n"]}, "the driver returned headers that"),
    ],
)
def test_what_a_broken_driver_returns_costs_no_message(
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[Storage, list[str]], Sequence[Message]],
    wrong: dict[str, Any],
    reason: str,
) -> None:
    ids = put(storage, b"1", b"2", b"3")
    whole = Context.message

    def broken(self: Context, stored: StoredMessage) -> Message:
        return whole(self, stored._replace(**wrong) if stored.id == ids[1] else stored)

    monkeypatch.setattr(Context, "message", broken)
    first, middle, last = _consumed(storage.queue("q")) if read is READS["handle.consume"] else read(storage, ids)
    assert [message.id for message in (first, middle, last)] == ids
    assert (first.body, last.body) == (1, 3)
    assert (middle.raw, middle.headers) == ((b"", {"n": "1"}) if "body" in wrong else (b"2", {}))
    with pytest.raises(CodecError, match=reason):
        _ = middle.body


# --- everything else works on it as on any other ---------------------------------------------------


def test_it_can_be_deleted_released_and_dead_lettered(storage: Storage) -> None:
    put(storage, b"hello")
    storage.queues.set_metadata("q", {"_max_claim_count": 2, "_dead_letter_queue": "dead"})
    queue = storage.queue("q")
    for _ in range(2):
        [message] = queue.claim()
        message.release()
    assert len(queue.claim()) == 0
    [letter] = storage.queue("dead").claim()
    assert (letter.raw, letter.headers, letter.client_id) == (b"hello", {"n": "0"}, "another")
    letter.delete()
    assert storage.queue("dead").stats().total == 0


def test_consume_warns_of_it_without_its_bytes_and_goes_on(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    ids = put(storage, b"1", b"SECRET", b"\0secret\0SECRET", b"4")
    with caplog.at_level(logging.WARNING, "zaqar_core.handle"):
        seen = _consumed(storage.queue("q"))
    assert [message.id for message in seen] == ids
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    for message_id, record in zip(ids[1:3], caplog.records, strict=True):
        assert message_id in record.getMessage()
        assert "queue 'q'" in record.getMessage()
        assert "SECRET" not in record.getMessage()
    assert "not JSON" in caplog.text
    assert "codecs=['secret']" in caplog.text


def test_no_reason_quotes_the_bytes() -> None:
    for raw in (b"\0SECRET", b"\0SECRET\0", b"SECRET", b'{"a": SECRET}', b"\xffSECRET"):
        with zaqar_core.connect(f"memory://{secrets.token_hex(8)}") as storage:
            put(storage, raw)
            with pytest.raises(CodecError) as raised:
                _ = storage.messages.first("q").body
        assert "SECRET" not in str(raised.value)


# --- the value --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda message: hasattr(message, "body"),
        lambda message: getattr(message, "body", None),
        dataclasses.asdict,
        lambda message: dataclasses.replace(message, ttl=1.0),
    ],
    ids=["hasattr", "getattr", "asdict", "replace"],
)
def test_whatever_reads_the_body_raises_and_raw_tells_beforehand(read: Callable[[Message], object]) -> None:
    message = bad()
    assert message.raw is not None
    with pytest.raises(CodecError):
        read(message)


def test_no_operation_on_the_value_raises() -> None:
    message = bad()
    same = dataclasses.asdict(Message("a", 1, 1.0, 0.0, "me"))
    assert [part.name for part in dataclasses.fields(message)] == list(same)
    assert list(same) == ["id", "body", "ttl", "age", "client_id", "claim_id", "claim_count", "headers", "raw"]
    for again in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert again == message
        assert (hash(again), again.raw, again.id) == (hash(message), b"\0zip\0garbage", message.id)
        with pytest.raises(CodecError, match="codec 'zip'; connect with"):
            _ = again.body
    assert len({message, copy.copy(message)}) == 1
    assert message != Message(message.id, 1, message.ttl, message.age, message.client_id)
    assert "body=<undecodable: a body was written with the codec 'zip'" in repr(message)
    assert not hasattr(message, "__dict__")
    for name in ("body", "raw"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(message, name, 1)


def test_two_that_differ_only_in_their_bytes_are_not_equal(storage: Storage) -> None:
    put(storage, b"hello", b"hullo")
    one, other = storage.messages.list("q").items
    assert one != other


def test_the_claimed_form_does_not_raise_either(storage: Storage) -> None:
    put(storage, b"hello")
    [message] = storage.queue("q").claim()
    assert isinstance(message, ClaimedMessage)
    for again in (copy.copy(message), copy.deepcopy(message)):
        assert again == message
        assert again.claim is message.claim
        assert again.raw == b"hello"
    plain = pickle.loads(pickle.dumps(message))
    assert type(plain) is Message
    assert (plain.id, plain.claim_id, plain.raw) == (message.id, message.claim_id, b"hello")
    assert repr(message).startswith(f"ClaimedMessage(id={message.id!r}, body=<undecodable: ")
    assert hash(message) == hash(plain)


def test_a_claimed_message_that_can_be_decoded_is_copied_and_pickled_too(storage: Storage) -> None:
    put(storage, b'{"n": [1]}')
    [message] = storage.queue("q").claim()
    deep = copy.deepcopy(message)
    assert copy.copy(message) == message == deep
    assert deep.body["n"] is not message.body["n"]
    assert deep.claim is message.claim
    assert pickle.loads(pickle.dumps(message)).body == {"n": [1]}


def test_the_cause_of_a_codec_s_failure_is_chained_and_holds_no_frames(storage: Storage) -> None:
    class Held:
        pass

    def read() -> tuple[Message, weakref.ref[Held]]:
        held = Held()
        return storage.messages.first("q"), weakref.ref(held)

    put(storage, b"\0zip\0garbage")
    message, held = read()
    gc.collect()
    assert held() is None
    with pytest.raises(CodecError) as raised:
        _ = message.body
    assert isinstance(raised.value.__cause__, zlib.error)


# --- the command ------------------------------------------------------------------------------------

Zaqar = Callable[..., Any]


@pytest.fixture
def shared(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Zaqar, list[str]]]:
    """The command, and the ids of three messages, of which the second cannot be decoded."""
    uri = f"memory://{secrets.token_hex(8)}"
    monkeypatch.setenv("ZAQAR_URI", uri)
    with zaqar_core.connect(uri) as storage:
        yield zaqar, put(storage, b"1", b"\0zip\0\x01", b"3")


@pytest.mark.parametrize("verb", ["peek", "claim", "pop --limit=5"])
def test_the_command_shows_the_others_and_the_bytes_of_the_bad_one(shared: tuple[Zaqar, list[str]], verb: str) -> None:
    zaqar, ids = shared
    name, *options = verb.split()
    done = zaqar("queue", name, "q", "--json", *options)
    assert done.code == 0
    first, middle, last = done.documents
    assert (first["body"], last["body"]) == (1, 3)
    assert "body" not in middle
    assert (middle["id"], base64.b64decode(middle["body_base64"])) == (ids[1], b"\0zip\0\x01")
    assert done.err == (
        f"zaqar: message {ids[1]}: a body was written with the codec 'zip'; pass --codec zip to read it\n"
    )


@pytest.mark.parametrize("verb", ["queue peek q", "queue claim q", "queue pop q --limit=5"])
def test_the_command_s_table_has_the_bytes_too(shared: tuple[Zaqar, list[str]], verb: str) -> None:
    zaqar, ids = shared
    done = zaqar(*verb.split())
    assert (done.code, "base64:AHppcAAB" in done.out) == (0, True)
    assert f"message {ids[1]}: a body was written with the codec 'zip'" in done.err


def test_the_command_gets_acknowledges_and_deletes_it(shared: tuple[Zaqar, list[str]]) -> None:
    zaqar, ids = shared
    shown = zaqar("message", "get", "q", *ids)
    assert (shown.code, "body       base64:AHppcAAB" in shown.out) == (0, True)
    claimed = zaqar("queue", "claim", "q", "--limit=2", "--json").out.encode()
    assert zaqar("queue", "ack", "q", "-", stdin=claimed).out == "acknowledged 2 messages\n"
    assert zaqar("message", "delete", "q", ids[2]).code == 0


def test_the_command_does_not_post_it_again_as_something_else(shared: tuple[Zaqar, list[str]]) -> None:
    zaqar, _ = shared
    claimed = zaqar("queue", "claim", "q", "--json").out.encode()
    done = zaqar("queue", "post", "other", "-", "--envelope", stdin=claimed)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("zaqar: error: line 2: a message whose body could not be decoded")


def test_a_null_body_is_none_of_these(storage: Storage) -> None:
    put(storage, b"null")
    message = storage.messages.first("q")
    assert (message.body, message.raw) == (None, None)
