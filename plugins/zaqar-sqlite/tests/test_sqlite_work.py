"""How much one call does: transactions and statements, counted; and that a call which cannot end stops in time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from zaqar_core import kit
from zaqar_core.contract import EncodedMessage, QueueKey, Space, StoredPage
from zaqar_core.errors import OutcomeUnknown, StorageUnavailable
from zaqar_sqlite import messages as messages_module
from zaqar_sqlite.claims import SqliteClaims
from zaqar_sqlite.clock import Clock
from zaqar_sqlite.connections import Database
from zaqar_sqlite.driver import SqliteDriver
from zaqar_sqlite.messages import SqliteMessages
from zaqar_sqlite.records import SqliteRecords

Open = Callable[..., SqliteDriver]
SetClock = Callable[[float], None]

QUEUE = QueueKey("", "q")
SPACE = Space("subscriptions", "")
NOON = 1_000_000.0


def post(
    driver: SqliteDriver, count: int = 1, *, client: str = "me", ttl: float = 1000.0, delay: float = 0.0
) -> list[str]:
    batch = [EncodedMessage(b"1", ttl, delay)] * count
    return SqliteMessages(driver._database).post(QUEUE, batch, client_id=client)


def said(driver: SqliteDriver, call: Callable[[], object]) -> list[str]:
    """The first word of each statement of the call."""
    words: list[str] = []
    database = driver._database
    for connection in database._connections.values():
        connection.set_trace_callback(lambda text: words.append(text.split()[0]))
    call()
    for connection in database._connections.values():
        connection.set_trace_callback(None)
    return words


# --- last tries ----------------------------------------------------------------------------------


def claimed(driver: SqliteDriver, limit: int = 100, maximum: int | None = 3) -> tuple[list[str], list[str]]:
    claim = SqliteClaims(driver._database).create(QUEUE, ttl=1.0, grace=1000.0, limit=limit, max_claim_count=maximum)
    return [message.id for message in claim.messages], [message.id for message in claim.exhausted]


def test_a_claim_ends_before_a_last_try_and_takes_it_alone(open_driver: Open, set_clock: SetClock) -> None:
    driver = open_driver()
    posted = post(driver, 2)
    for second in (0, 2):
        set_clock(NOON + second)
        assert claimed(driver) == (posted, [])
    set_clock(NOON + 4)
    healthy = post(driver, 2)
    for last in posted:
        assert claimed(driver) == ([last], [])
    assert claimed(driver) == (healthy, [])
    set_clock(NOON + 6)
    assert claimed(driver) == (healthy, posted)
    set_clock(NOON + 8)
    assert claimed(driver) == (healthy[:1], posted)
    assert claimed(driver, maximum=None) == (healthy[1:], [])


@pytest.mark.parametrize("maximum", [1, 2])
def test_no_neighbour_is_protected_where_one_try_is_allowed_or_the_maximum_was_lowered(
    open_driver: Open, set_clock: SetClock, maximum: int
) -> None:
    driver = open_driver()
    posted = post(driver, 3)
    assert claimed(driver, maximum=9) == (posted, [])
    set_clock(NOON + 2)
    assert claimed(driver, maximum=9) == (posted, [])
    set_clock(NOON + 4)
    fresh = post(driver, 2)
    assert claimed(driver, maximum=maximum) == (fresh, posted)


def test_a_claim_of_a_last_try_costs_what_any_claim_costs(open_driver: Open, set_clock: SetClock) -> None:
    driver = open_driver()
    post(driver, 50)
    first = said(driver, lambda: claimed(driver, maximum=2))
    set_clock(NOON + 2)
    claimed(driver, limit=1, maximum=2)  # settles
    last = said(driver, lambda: claimed(driver, maximum=2))
    assert first == last
    assert last == ["BEGIN", "SELECT", "SELECT", "UPDATE", "INSERT", "UPDATE", "UPDATE", "COMMIT"]


# --- pages ---------------------------------------------------------------------------------------


def page(driver: SqliteDriver, marker: str | None = None, *, limit: int = 10, delayed: bool = False) -> StoredPage:
    return SqliteMessages(driver._database).list(
        QUEUE, marker=marker, limit=limit, exclude_client="me", include_claimed=True, include_delayed=delayed
    )


def test_another_clients_message_is_found_behind_thousands_of_ones_own(open_driver: Open, set_clock: SetClock) -> None:
    driver = open_driver()
    post(driver, 5000)
    nothing = page(driver)
    assert (nothing.items, nothing.more) == ([], False)
    others = post(driver, 2, client="other")
    post(driver, 5000)
    for marker in (None, nothing.marker):
        found = page(driver, marker)
        assert ([message.id for message in found.items], found.more) == (others, False)
        found = page(driver, marker, limit=1)
        assert ([message.id for message in found.items], found.more) == (others[:1], True)
        found = page(driver, found.marker, limit=1)
        assert ([message.id for message in found.items], found.more) == (others[1:], False)


def test_a_listing_that_ran_out_of_time_goes_on_from_its_marker(
    open_driver: Open, set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = open_driver()
    post(driver, 3500)
    [other] = post(driver, 1, client="other")
    monkeypatch.setattr(messages_module, "_halfway", lambda _: 0.0)
    pages = [page(driver)]
    while pages[-1].more:
        pages.append(page(driver, pages[-1].marker))
    assert [message.id for one in pages for message in one.items] == [other]
    assert len(pages) == 4


@pytest.mark.parametrize("shown", [[], ["before"], ["future"]])
def test_no_marker_goes_past_hidden_delayed_messages_to_where_others_will_post(
    open_driver: Open, set_clock: SetClock, shown: list[str]
) -> None:
    driver = open_driver()
    before = post(driver, client="other") if shown == ["before"] else []
    post(driver, 1500)
    post(driver, 1500, delay=100)
    if shown == ["future"]:
        post(driver, client="other", delay=50)
    first = page(driver, delayed=True)
    assert len(first.items) == len(shown)
    assert not first.more
    set_clock(NOON + 1)
    posted = post(driver, client="other")
    again = [message.id for message in page(driver, first.marker, delayed=True).items]
    assert again == ([] if shown == ["future"] else posted)
    assert [message.id for message in page(driver).items] == before + posted


# --- reads ---------------------------------------------------------------------------------------


Read = Callable[[SqliteDriver], object]
READS: dict[str, Read] = {
    "messages.get": lambda driver: SqliteMessages(driver._database).get(QUEUE, ["1-aaaaaaaaaaaa"]),
    "messages.first": lambda driver: SqliteMessages(driver._database).first(QUEUE, newest=False),
    "messages.list": page,
    "messages.stats": lambda driver: SqliteMessages(driver._database).stats(QUEUE),
    "claims.get": lambda driver: SqliteClaims(driver._database).get(QUEUE, "2-aaaaaaaaaaaa"),
    "records.get": lambda driver: SqliteRecords(driver._database).get(SPACE, "a"),
    "records.scan": lambda driver: SqliteRecords(driver._database).scan(SPACE, limit=10),
    "records.count": lambda driver: SqliteRecords(driver._database).count(SPACE),
}


each_read = pytest.mark.parametrize("read", READS.values(), ids=READS.keys())


@each_read
def test_a_read_that_has_to_settle_first_does_so_in_transactions_of_their_own(
    open_driver: Open, set_clock: SetClock, read: Read
) -> None:
    """However long it takes, it keeps no other process from writing."""
    driver = open_driver()
    post(driver, 2)
    post(driver, 2500, ttl=10)
    for number in range(2):
        SqliteRecords(driver._database).insert(SPACE, f"{number}", b"{}", nonce="n", ttl=10)
    set_clock(NOON + 10)
    *settling, reading, end = " ".join(said(driver, lambda: read(driver))).split("COMMIT")
    assert "DELETE" in " ".join(settling)
    assert set(reading.split()) == {"BEGIN", "SELECT"}
    assert end == ""


@each_read
def test_a_read_ends_although_something_falls_due_at_any_moment(
    open_driver: Open, monkeypatch: pytest.MonkeyPatch, set_clock: SetClock, read: Read
) -> None:
    driver = open_driver(synchronous="OFF")
    for milliseconds in range(1, 100):
        post(driver, ttl=milliseconds / 1000)
        SqliteRecords(driver._database).insert(SPACE, f"{milliseconds}", b"{}", nonce="n", ttl=milliseconds / 1000)
    ticks = count(round(NOON * 1000) + 1)
    monkeypatch.setattr(Clock, "now_ms", lambda _: next(ticks))
    assert said(driver, lambda: read(driver)).count("COMMIT") == 3


# --- steps and time ------------------------------------------------------------------------------


def test_records_are_deleted_a_thousand_in_a_transaction(open_driver: Open) -> None:
    driver = open_driver(synchronous="OFF")
    records = SqliteRecords(driver._database)
    for number in range(2500):
        records.insert(SPACE, f"q{number:04}", b"{}", nonce="n")
    records.insert(SPACE, "r", b"{}", nonce="n")
    deleted: list[int] = []
    words = said(driver, lambda: deleted.append(records.delete_all(SPACE, prefix="q")))
    assert deleted == [2500]
    assert words.count("COMMIT") == 3
    assert [record.key for record in records.scan(SPACE, limit=9)] == ["r"]
    assert records.delete_all(SPACE) == 1
    assert records.delete_all(SPACE) == 0


def test_deleting_all_records_says_that_some_are_deleted_when_a_later_step_fails(
    path: Path, open_driver: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = open_driver(synchronous="OFF", timeout=0.2)
    records = SqliteRecords(driver._database)
    for number in range(1500):
        records.insert(SPACE, f"{number:04}", b"{}", nonce="n")
    write = Database.write
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        def lock_afterwards(*arguments: Any) -> Any:
            answer = write(*arguments)
            other.execute("BEGIN IMMEDIATE")
            return answer

        monkeypatch.setattr(Database, "write", lock_afterwards)
        with pytest.raises(OutcomeUnknown, match=r"1000 records were deleted; repeat the call .*locked"):
            records.delete_all(SPACE)
        with pytest.raises(StorageUnavailable) as caught:
            records.delete_all(SPACE)
        assert type(caught.value) is not OutcomeUnknown
    assert records.count(SPACE) == 500


def test_what_takes_many_transactions_stops_at_the_deadline_and_another_call_goes_on(
    open_driver: Open, set_clock: SetClock
) -> None:
    """The deadline is that of the call of ``Storage``, of which this may be one step of several."""
    driver = open_driver()
    post(driver, 2500, ttl=10)
    set_clock(NOON + 10)
    messages, records = SqliteMessages(driver._database), SqliteRecords(driver._database)
    with kit.time_limit(0.0):
        calls: list[Callable[[], object]] = [
            lambda: messages.stats(QUEUE),
            lambda: messages.pop(QUEUE, limit=1),
            lambda: records.delete_all(SPACE),
            driver.ping,
        ]
        for call in calls:
            with pytest.raises(StorageUnavailable, match=r"the timeout was over|in use until the timeout"):
                call()
    assert messages.stats(QUEUE).total == 0
