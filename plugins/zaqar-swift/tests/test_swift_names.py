"""Ids sort as messages stand in their queue; what is packed comes back; names do not collide."""

from __future__ import annotations

import json
import string
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaqar_conformance.bytecodes import interrupt
from zaqar_core.contract import QueueKey, Space
from zaqar_swift import packing
from zaqar_swift.names import (
    Clock,
    MessageName,
    first_id,
    message_id,
    message_name,
    queue_prefix,
    record_name,
    space_prefix,
)
from zaqar_swift.packing import INLINE, ClaimObject, Entry, RecordObject, Sent

_NAMES = st.builds(
    MessageName,
    position=st.integers(0, 2**56 - 1),
    number=st.integers(0, 9_999),
    delayed=st.booleans(),
    expires=st.integers(0, 2**56 - 1),
)
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=64)


@given(_NAMES, _NAMES)
def test_ids_sort_by_position_then_place_in_the_post(one: MessageName, other: MessageName) -> None:
    """Byte by byte, as Swift sorts names; and an id says again what it was made of."""
    first, second = message_id(one), message_id(other)
    assert message_name(first) == one
    if one[:2] != other[:2]:
        assert (first < second) == (one[:2] < other[:2])


@given(_NAMES, st.integers(0, 2**56 - 1))
def test_nothing_at_or_behind_a_position_is_before_its_first_id(name: MessageName, at: int) -> None:
    if name.position >= at:
        assert first_id(at) < message_id(name)


@pytest.mark.parametrize("text", ["", "x", "0" * 31, "0" * 33, "0" * 31 + "/", "ä" * 32, "0" * 31 + "\n"])
def test_what_is_no_id_names_nothing(text: str) -> None:
    assert message_name(text) is None


def test_positions_go_forward_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it stands still or goes back; and they run in step with it afterwards. The time itself is the clock's."""
    clock = Clock()
    moments = [1_000_000, 1_000_000, 9_000_000, 2_000_000, 2_500_000, 2_500_000]
    coming = iter(moments)
    monkeypatch.setattr(clock, "now", lambda: next(coming))
    ticks = [clock.tick() for _ in moments]
    assert [tick.now for tick in ticks] == moments
    assert [tick.position for tick in ticks] == [1_000_000, 1_000_001, 9_000_000, 9_000_001, 9_500_000, 9_500_001]


def test_threads_that_tick_at_once_get_different_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(clock, "now", lambda: 1_000_000)
    with ThreadPoolExecutor(4) as pool:
        ticks = list(pool.map(lambda _: clock.tick(), range(4_000)))
    assert sorted(tick.position for tick in ticks) == list(range(1_000_000, 1_004_000))


def test_a_tick_may_be_interrupted_anywhere() -> None:
    clock = Clock()
    before = clock.tick()
    for at in range(1, 200):
        interrupt(clock.tick, at)
        after = clock.tick()
        assert before.position < after.position
        before = after


@given(_TEXT, _TEXT, _TEXT, _TEXT)
def test_different_queues_have_different_prefixes(project: str, name: str, other_project: str, other: str) -> None:
    one, two = QueueKey(project, name), QueueKey(other_project, other)
    assert (queue_prefix(one) == queue_prefix(two)) == (one == two)


def test_texts_that_join_alike_are_different_queues() -> None:
    assert queue_prefix(QueueKey("a.b", "c")) != queue_prefix(QueueKey("a", "b.c"))
    assert space_prefix(Space("ab", "c")) != space_prefix(Space("a", "bc"))


@given(_TEXT, _TEXT)
def test_records_sort_by_the_code_points_of_their_keys(one: str, other: str) -> None:
    space = Space("queues", "")
    first, second = record_name(space, one), record_name(space, other)
    assert (first < second) == (one < other)
    assert set(first) <= set(string.hexdigits.lower() + "/")
    assert first.startswith(record_name(space, one[:3]))


@pytest.mark.parametrize("size", [0, 1, INLINE - 100, INLINE, 10_000])
@pytest.mark.parametrize("available", [None, 7_654_321])
def test_messages_come_back_whatever_their_size(size: int, available: int | None) -> None:
    """Small ones from the content type alone, which is all that a listing gives; large ones with their data."""
    sent = Sent(1_234_567, "clïent", {"a": "ü"}, b"\0\xff" * (size // 2), available)
    packed = packing.pack_message(sent, b"12345678", INLINE)
    content = packing.unpack(packed.content_type)
    assert content is not None
    assert (content.rest is None) == (size >= INLINE)
    assert packing.message_head(content.head) == (1_234_567, b"12345678", available)
    assert packing.message_rest(content.head, packed.data if content.rest is None else content.rest) == sent
    assert len(packed.content_type) <= 2_070


@pytest.mark.parametrize("count", [0, 1, 100])
def test_claims_come_back(count: int) -> None:
    claim = ClaimObject(1, 2, 3, False, tuple(Entry(f"{n:032}", n, 5, 6, True, 7, 8, 9) for n in range(count)))
    packed = packing.pack_claim(claim)
    content = packing.unpack(packed.content_type)
    assert content is not None
    assert packing.claim_rest(packed.data if content.rest is None else content.rest) == claim


def test_claims_and_states_without_moments_of_availability_are_read() -> None:
    """They were written before positions and moments were told apart: then the one was the other."""
    entry = ["m", 2, 5, 6, False, 7, 8]
    assert packing.claim_rest(json.dumps([1, 2, 3, False, [entry]]).encode()).entries == (
        Entry("m", 2, 5, 6, False, 7, 8),
    )
    state = packing.unpack_state("m", json.dumps(["c", 3, False, *entry[1:]]).encode())
    assert state.entry == Entry("m", 2, 5, 6, False, 7, 8)
    assert state.entry.available == 0


@pytest.mark.parametrize("value", [b"", b"\0;,\xff", b"x" * 5000])
def test_records_come_back(value: bytes) -> None:
    record = RecordObject(5, "version", "nonce", value)
    packed = packing.pack_record(record, INLINE)
    content = packing.unpack(packed.content_type)
    assert content is not None
    assert packing.record_rest(packed.data if content.rest is None else content.rest) == record


@pytest.mark.parametrize("text", ["", "text/plain", "zaqar/", "zaqar/!!!", "zaqar/A", "zaqar/_w=="])
def test_what_others_stored_is_not_ours(text: str) -> None:
    assert packing.unpack(text) is None
