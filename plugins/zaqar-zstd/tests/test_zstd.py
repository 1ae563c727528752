"""The codec ``zstd``: alone, and behind ``connect`` on a backend in memory and on SQLite."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaqar_core import Codec, Limits, NewMessage, Storage, connect
from zaqar_core.contract import EncodedMessage, QueueKey, new_id
from zaqar_core.errors import CodecError, InvalidBody
from zaqar_zstd import BodyTooLarge, ZstdCodec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = {"lines": ["screw, 4 mm, zinc"] * 500}


@pytest.fixture(params=["memory", "sqlite"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{new_id()}" if request.param == "memory" else f"sqlite:///{tmp_path}/queues.db"


@pytest.fixture
def storage(uri: str) -> Iterator[Storage]:
    with connect(uri, codecs=["zstd"]) as storage:
        yield storage


def stored(storage: Storage, message_id: str) -> bytes:
    """The body as the datastore holds it."""
    [message] = storage.driver.messages.get(QueueKey("", "q"), [message_id])  # type: ignore[union-attr]
    return message.body


# --- the codec alone ------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=5000), level=st.sampled_from([-5, 1, 3, 19, 22]))
def test_any_bytes_come_back_at_any_level_whoever_reads(data: bytes, level: int) -> None:
    assert ZstdCodec().decode(ZstdCodec(level).encode(data)) == data


@pytest.mark.parametrize("size", [1, 2, 1000, 1024, 1025, 4096, 2**20, 2**20 + 1])
@pytest.mark.parametrize("level", [1, 22])
def test_what_a_bound_lets_in_it_lets_out_again(size: int, level: int) -> None:
    codec = ZstdCodec(level, max_size=size)
    for data in (os.urandom(size), bytes(size)):
        assert codec.decode(codec.encode(data)) == data


def test_what_a_bound_would_not_let_out_it_does_not_let_in() -> None:
    with pytest.raises(BodyTooLarge, match="a body of 1001 bytes; at most 1000"):
        ZstdCodec(max_size=1000).encode(bytes(1001))


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("size", [1001, 50_000_000])
def test_a_bomb_is_refused_whether_or_not_it_says_how_large_it_is(said: bool, size: int) -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.content_size_flag: int(said),
        zstd.CompressionParameter.window_log: 10,
    }
    bomb = zstd.compress(bytes(size), options=options)
    assert len(bomb) < size / 10
    with pytest.raises(BodyTooLarge, match="holds more than the 1000 that are allowed"):
        ZstdCodec(max_size=1000).decode(bomb)


def test_a_frame_that_asks_for_a_large_window_gets_none() -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.content_size_flag: 0,
        zstd.CompressionParameter.window_log: 20,
    }
    with pytest.raises(zstd.ZstdError, match="too much memory"):
        ZstdCodec(max_size=1000).decode(zstd.compress(bytes(2**20), options=options))


def test_one_changed_byte_anywhere_never_gives_another_body() -> None:
    codec = ZstdCodec()
    body = b'{"n": "hello hello hello hello"}'
    whole = codec.encode(body)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        with pytest.raises((zstd.ZstdError, ValueError)):
            codec.decode(bytes(damaged))


def test_what_is_cut_off_anywhere_is_refused() -> None:
    whole = ZstdCodec().encode(bytes(1000))
    for length in range(len(whole)):
        with pytest.raises((zstd.ZstdError, ValueError)):
            ZstdCodec().decode(whole[:length])


@pytest.mark.parametrize("more", [b"\0", b"more", zstd.compress(b"more")])
def test_bytes_after_the_frame_are_refused(more: bytes) -> None:
    with pytest.raises(ValueError, match=f"{len(more)} bytes follow the frame"):
        ZstdCodec().decode(ZstdCodec().encode(b"1") + more)


@pytest.mark.parametrize("level", [23, -200_000])
def test_a_level_that_there_is_not_is_refused(level: int) -> None:
    with pytest.raises(ValueError, match=f"level is {level}; choose one from -131072 to 22"):
        ZstdCodec(level)


def test_a_bound_below_one_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="max_size is 0; give at least 1"):
        ZstdCodec(max_size=0)


def test_one_codec_is_shared_by_threads() -> None:
    codec = ZstdCodec()

    def work(seed: int) -> bool:
        source = random.Random(seed)
        bodies = [source.randbytes(source.randrange(200)) * source.randrange(1, 200) for _ in range(100)]
        return all(codec.decode(codec.encode(body)) == body for body in bodies)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


# --- behind connect -------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, 0, "", "\0", "text ä", [], LONG, {"deep": [{"er": [1.5]}]}], ids=str)
def test_bodies_come_back_equal(storage: Storage, body: Any) -> None:
    [message_id] = storage.messages.post("q", [NewMessage(body)])
    assert storage.messages.get("q", message_id).body == body


def test_bodies_are_smaller_in_the_datastore(uri: str, storage: Storage) -> None:
    [packed] = storage.messages.post("q", [NewMessage(LONG)])
    with connect(uri) as other:
        [plain] = other.messages.post("q", [NewMessage(LONG)])
    assert stored(storage, packed).startswith(b"\0zstd\0")
    assert len(stored(storage, packed)) < len(stored(storage, plain)) / 50


def test_bodies_posted_with_and_without_it_lie_in_one_queue(uri: str, storage: Storage) -> None:
    with connect(uri) as plain, connect(uri, codecs=[ZstdCodec(level=19)]) as small:
        for number, writer in enumerate([plain, storage, small, plain, storage]):
            writer.messages.post("q", [NewMessage({"n": number, **LONG})])
        for reader in (storage, small):
            assert [message.body["n"] for message in reader.messages.list("q").items] == [0, 1, 2, 3, 4]
        assert plain.messages.first("q").body["n"] == 0
        with pytest.raises(CodecError, match=r"written with the codec 'zstd'; connect with codecs=\['zstd'\]"):
            _ = plain.messages.list("q").items[1].body


def test_damaged_bodies_are_a_codec_error_and_harm_no_others(storage: Storage) -> None:
    [message_id] = storage.messages.post("q", [NewMessage(LONG)])
    body = stored(storage, message_id)
    damaged = [body[:-1], body + b"\0", b"\0zstd\0", b"\0zstd\0{}", body[:-4] + b"\0\0\0\0"]
    driver = storage.driver.messages
    assert driver is not None
    ids = driver.post(QueueKey("", "q"), [EncodedMessage(each, 60.0) for each in damaged], client_id="c")
    for damaged_id in ids:
        with pytest.raises(CodecError, match="codec 'zstd' failed to decode a body") as raised:
            _ = storage.messages.get("q", damaged_id).body
        assert isinstance(raised.value.__cause__, zstd.ZstdError | ValueError)
    assert storage.messages.get("q", message_id).body == LONG


def test_a_body_above_the_bound_is_a_codec_error_and_nothing_is_posted(uri: str) -> None:
    with connect(uri, codecs=[ZstdCodec(max_size=100)]) as storage:
        with pytest.raises(CodecError, match="failed to encode a body: BodyTooLarge; nothing was written") as raised:
            storage.messages.post("q", [NewMessage("fits"), NewMessage("a" * 99)])
        assert isinstance(raised.value.__cause__, BodyTooLarge)
        assert storage.messages.stats("q").total == 0


def test_a_bomb_in_the_datastore_is_a_codec_error(uri: str) -> None:
    with connect(uri, codecs=["zstd"]) as writer, connect(uri, codecs=[ZstdCodec(max_size=1000)]) as reader:
        writer.messages.post("q", [NewMessage("a" * 10_000_000)])
        with pytest.raises(CodecError, match="failed to decode a body: BodyTooLarge"):
            _ = reader.messages.first("q").body


def test_the_limit_of_a_body_counts_what_is_stored(uri: str) -> None:
    with connect(uri, codecs=["zstd"], limits=Limits(max_body_bytes=1000)) as storage:
        storage.messages.post("q", [NewMessage("a" * 10_000)])
        with pytest.raises(InvalidBody):
            storage.messages.post("q", [NewMessage(random.Random(1).randbytes(2000).hex())])


def test_it_is_a_codec_to_the_type_checker() -> None:
    codec: Codec = ZstdCodec()
    assert codec.name == "zstd"
