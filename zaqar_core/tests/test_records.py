"""Queues over a record store that loses connections as real ones do: before the write took effect, or after."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from zaqar_core.contract import QueueKey, Record, RecordStore, Space
from zaqar_core.documents import QUEUES, Fields
from zaqar_core.errors import IncompatibleStorage, InvalidMetadata, OutcomeUnknown, StorageClosed, StorageUnavailable
from zaqar_core.models import Page, QueueEntry
from zaqar_core.records import QueueRecords

ORDERS = QueueKey("acme", "orders")
SPACE = Space(QUEUES, "acme")


class Store(RecordStore):
    """``cut``: the next write breaks off "before" or "after" its effect. ``meanwhile`` runs ahead of each replace."""

    def __init__(self) -> None:
        self.records: dict[tuple[Space, str], Record] = {}
        self.nonces: list[str] = []
        self.reads = 0
        self.cut = ""
        self.then: Callable[[], object] = lambda: None
        self.meanwhile: Callable[[], object] = lambda: None
        self.deaf: Exception | None = None
        self._version = 0

    def write(self, value: bytes, space: Space = SPACE, key: str = "orders", nonce: str = "other") -> str:
        self._version += 1
        self.records[space, key] = Record(key, value, str(self._version), nonce)
        return str(self._version)

    def get(self, space: Space, key: str) -> Record | None:
        self.reads += 1
        if self.deaf is not None:
            raise self.deaf
        return self.records.get((space, key))

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        return self._run(nonce, lambda: self._absent(space, key), lambda: self.write(value, space, key, nonce))

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        self.meanwhile()
        return self._run(nonce, lambda: self._is(space, key, version), lambda: self.write(value, space, key, nonce))

    def _absent(self, space: Space, key: str) -> bool:
        return (space, key) not in self.records

    def _is(self, space: Space, key: str, version: str) -> bool:
        found = self.records.get((space, key))
        return found is not None and found.version == version

    def _run(self, nonce: str, may: Callable[[], bool], write: Callable[[], str]) -> str | None:
        self.nonces.append(nonce)
        self._break("before")
        version = write() if may() else None
        self._break("after")
        return version

    def _break(self, moment: str) -> None:
        if self.cut == moment:
            self.cut = ""
            self.then()
            raise OutcomeUnknown("the connection broke")

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        return self.records.pop((space, key), None) is not None

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        keys = sorted(key for owner, key in self.records if owner == space and key.startswith(prefix))
        return [self.records[space, key] for key in keys if after is None or key > after][:limit]

    def count(self, space: Space, *, prefix: str = "") -> int:
        return len(self.scan(space, prefix=prefix, limit=len(self.records)))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def queues(store: Store) -> QueueRecords:
    return QueueRecords(store)


Write = Callable[[QueueRecords], bool]
WRITES: dict[str, Write] = {
    "create": lambda queues: queues.create(ORDERS, b'{"mine":1}'),
    "set": lambda queues: queues.set_metadata(ORDERS, b'{"mine":1}'),
    "change": lambda queues: queues.change_metadata(ORDERS, lambda metadata: b'{"mine":1}'),
}


@pytest.fixture(params=WRITES)
def write(request: pytest.FixtureRequest, store: Store) -> Write:
    """A write that finds what it needs: no record to create one, one to replace it."""
    name: str = request.param
    if name != "create":
        store.write(b'{"before":1}')
    return WRITES[name]


def test_a_write_whose_reply_was_lost_is_read_back_and_was_ours(
    store: Store, queues: QueueRecords, write: Write
) -> None:
    store.cut = "after"
    assert write(queues) is True
    assert queues.get_metadata(ORDERS) == {"mine": 1}
    assert len(store.nonces) == 1


def test_a_write_that_never_arrived_stays_of_unknown_outcome(store: Store, queues: QueueRecords, write: Write) -> None:
    before = dict(store.records)
    store.cut = "before"
    with pytest.raises(OutcomeUnknown, match="the connection broke"):
        write(queues)
    assert store.records == before


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_record_that_another_has_written_since_does_not_tell_whose_the_write_was(
    store: Store, queues: QueueRecords, write: Write, moment: str
) -> None:
    store.cut, store.then = moment, lambda: store.write(b'{"theirs":1}')
    with pytest.raises(OutcomeUnknown):
        write(queues)
    assert queues.get_metadata(ORDERS) == {"theirs": 1}


def test_a_write_whose_record_is_gone_again_stays_of_unknown_outcome(
    store: Store, queues: QueueRecords, write: Write
) -> None:
    store.cut, store.then = "after", store.records.clear
    with pytest.raises(OutcomeUnknown):
        write(queues)


@pytest.mark.parametrize("error", [StorageUnavailable, StorageClosed, IncompatibleStorage, OutcomeUnknown])
def test_a_reading_back_that_fails_does_not_turn_unknown_into_nothing_happened(
    store: Store, queues: QueueRecords, write: Write, error: type[Exception]
) -> None:
    def go_deaf() -> None:
        store.deaf = error("gone")

    store.cut, store.then = "after", go_deaf
    with pytest.raises(OutcomeUnknown, match="the connection broke") as raised:
        write(queues)
    assert type(raised.value) is OutcomeUnknown


def test_an_error_that_says_that_nothing_happened_is_not_questioned(store: Store, queues: QueueRecords) -> None:
    def refuse(*_: object, **__: object) -> str | None:
        raise StorageUnavailable("no server")

    store.insert = refuse  # type: ignore[method-assign]
    with pytest.raises(StorageUnavailable, match="no server"):
        queues.create(ORDERS, b"{}")
    assert store.reads == 0


def test_create_leaves_a_queue_that_exists_as_it_is(store: Store, queues: QueueRecords) -> None:
    store.write(b'{"theirs":1}')
    assert queues.create(ORDERS, b'{"mine":1}') is False
    assert queues.get_metadata(ORDERS) == {"theirs": 1}


def test_set_metadata_wins_in_the_end_against_others_and_never_uses_a_nonce_twice(
    store: Store, queues: QueueRecords
) -> None:
    def interfere() -> None:
        if len(store.nonces) < 5:
            store.write(b'{"theirs":1}')

    store.write(b"{}")
    store.meanwhile = interfere
    assert queues.set_metadata(ORDERS, b'{"mine":1}') is True
    assert queues.get_metadata(ORDERS) == {"mine": 1}
    assert len(set(store.nonces)) == len(store.nonces) == 6


def test_set_metadata_against_others_without_end_gives_up_saying_that_nothing_happened(
    store: Store, queues: QueueRecords
) -> None:
    store.write(b"{}")
    store.meanwhile = lambda: store.write(b'{"theirs":1}')
    with pytest.raises(StorageUnavailable, match="'orders' before each of 100 attempts; try again later") as raised:
        queues.set_metadata(ORDERS, b'{"mine":1}')
    assert type(raised.value) is StorageUnavailable
    assert (len(store.nonces), queues.get_metadata(ORDERS)) == (100, {"theirs": 1})


def test_set_metadata_of_a_queue_deleted_meanwhile_says_that_it_is_not_there(
    store: Store, queues: QueueRecords
) -> None:
    store.write(b"{}")
    store.meanwhile = store.records.clear
    assert queues.set_metadata(ORDERS, b'{"mine":1}') is False
    assert store.records == {}


def test_damaged_metadata_is_incompatible_storage_and_does_not_hide_the_queue(
    store: Store, queues: QueueRecords
) -> None:
    store.write(b"{damaged")
    with pytest.raises(IncompatibleStorage):
        queues.get_metadata(ORDERS)
    assert queues.list("acme", marker="", limit=9, detailed=False, prefix="").items == [QueueEntry("orders")]
    with pytest.raises(IncompatibleStorage):
        queues.list("acme", marker="", limit=9, detailed=True, prefix="")
    queues.delete(ORDERS)
    assert queues.count("acme") == 0


def test_pages_end_exactly_where_the_queues_do(queues: QueueRecords) -> None:
    for name in ("a", "b", "c"):
        queues.create(QueueKey("acme", name), b"{}")
    queues.create(QueueKey("other", "d"), b"{}")

    def page(marker: str, limit: int) -> Page[QueueEntry]:
        return queues.list("acme", marker=marker, limit=limit, detailed=True, prefix="")

    def entries(names: str) -> list[QueueEntry]:
        return [QueueEntry(name, {}) for name in names]

    assert page("", 2) == Page(entries("ab"), "b", more=True)
    assert page("b", 2) == Page(entries("c"), "c", more=False)
    assert page("", 3) == Page(entries("abc"), "c", more=False)
    assert page("c", 2) == Page([], "c", more=False)
    assert queues.list("none", marker="", limit=2, detailed=True, prefix="") == Page([], "", more=False)


def test_a_change_in_part_keeps_what_others_wrote_meanwhile(store: Store, queues: QueueRecords) -> None:
    store.write(b'{"theirs":0}')
    others = iter([b'{"theirs":1}', b'{"theirs":2,"more":3}'])

    def interfere() -> None:
        theirs = next(others, None)
        if theirs is not None:
            store.write(theirs)

    store.meanwhile = interfere
    assert queues.change_metadata(ORDERS, lambda metadata: json.dumps({**metadata, "mine": 1}).encode())
    assert queues.get_metadata(ORDERS) == {"theirs": 2, "more": 3, "mine": 1}


def test_what_a_change_refuses_is_not_written(store: Store, queues: QueueRecords) -> None:
    store.write(b'{"a":1}')

    def refuse(metadata: object) -> bytes:
        raise InvalidMetadata("no")

    with pytest.raises(InvalidMetadata):
        queues.change_metadata(ORDERS, refuse)
    assert store.nonces == []


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"_max_claim_count":"3"}',
        b'{"_max_claim_count":true}',
        b'{"_max_claim_count":0}',
        b'{"_default_message_ttl":1e999}',
        b'{"_default_message_delay":-1}',
        b'{"_dead_letter_queue":"orders"}',
        b'{"_dead_letter_queue":""}',
        b'{"_dead_letter_queue":"a\\u0000b"}',
        b'{"_flavor":[]}',
    ],
)
def test_settings_of_a_wrong_type_are_damage_and_not_ignored(
    store: Store, queues: QueueRecords, metadata: bytes
) -> None:
    """To go on without them would lose dead letters, or keep messages for another time than was wanted."""
    store.write(metadata)
    with pytest.raises(IncompatibleStorage, match="record 'orders' of queues of project 'acme'"):
        queues.get_settings(ORDERS)


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"[]", "expected a JSON object, got a list"),
        (b"null", "expected a JSON object, got null"),
        (b'{"weight":null}', "to be a whole number, got null"),
        (b'{"weight":"1"}', "to be a whole number, got a string"),
        (b'{"weight":true}', "to be a whole number, got true or false"),
        (b'{"weight":1.5}', "to be a whole number, got a number"),
        (b'{"weight":{}}', "to be a whole number, got an object"),
        (b"{}", "to be a whole number, got nothing"),
    ],
)
def test_damage_is_told_in_the_words_of_json(data: bytes, got: str) -> None:
    with pytest.raises(IncompatibleStorage, match=got):
        Fields("pools", "", Record("a", data, "1", "n")).take("weight", int)


def test_settings_are_the_known_keys_that_are_set(store: Store, queues: QueueRecords) -> None:
    store.write(b'{"_max_claim_count":null,"_flavor":"f","_newer":1,"own":2}')
    assert queues.get_settings(ORDERS) == {"_flavor": "f"}
    assert queues.get_settings(QueueKey("acme", "other")) is None
