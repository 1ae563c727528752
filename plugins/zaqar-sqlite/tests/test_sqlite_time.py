"""Time: what happens when the host's clock goes back, and how what time alone changes is settled and reclaimed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from zaqar_core.contract import MAX_SETTLED_PER_CALL, EncodedMessage, QueueKey, Space, StoredMessage
from zaqar_core.errors import InvalidDuration
from zaqar_core.limits import DEDUP_WINDOW
from zaqar_sqlite import sweep
from zaqar_sqlite.claims import SqliteClaims
from zaqar_sqlite.clock import set_ahead
from zaqar_sqlite.driver import SqliteDriver
from zaqar_sqlite.errors import Busy
from zaqar_sqlite.messages import SqliteMessages
from zaqar_sqlite.records import SqliteRecords
from zaqar_sqlite.transactions import QueueTransaction

Open = Callable[..., SqliteDriver]
Ensure = Callable[[Path], None]
SetClock = Callable[[float], None]

QUEUE = QueueKey("", "q")
SPACE = Space("queues", "")
NOON = 1_000_000.0
"""Where ``set_clock`` begins."""
TEN_YEARS = 10 * 365 * 86400
STORED = "count(*) FROM messages"


def post(driver: SqliteDriver, count: int = 1, *, ttl: float = 60.0, delay: float = 0.0, size: int = 1) -> list[str]:
    batch = [EncodedMessage(bytes(size), ttl, delay)] * count
    return SqliteMessages(driver._database).post(QUEUE, batch, client_id="c")


def listed(driver: SqliteDriver) -> list[StoredMessage]:
    page = SqliteMessages(driver._database).list(
        QUEUE, marker=None, limit=10_000, exclude_client=None, include_claimed=False, include_delayed=False
    )
    return list(page.items)


def ids(driver: SqliteDriver) -> list[str]:
    return [message.id for message in listed(driver)]


def rows(path: Path) -> dict[str, int]:
    """How many rows there are, whoever can see them."""
    with closing(sqlite3.connect(path)) as connection:
        tables = ("messages", "claims", "dedup", "records", "queues")
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def test_what_is_released_later_in_one_millisecond_stands_behind(
    open_driver: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 1_000_000_000_000_000_000
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: moment)
    driver = open_driver()
    posted = post(driver, 5)
    claims = SqliteClaims(driver._database)
    claim_id = str(claims.create(QUEUE, ttl=60, grace=0, limit=5).id)
    for part in (posted[1:], posted[:1]):
        claims.release(QUEUE, claim_id, message_ids=part, delay=1)
    moment += 1_000_000_000
    assert ids(driver) == [*posted[1:], posted[0]]


# --- the clock goes back -------------------------------------------------------------------------


def test_what_is_given_after_a_correction_runs_true_and_what_was_given_in_the_wrong_year_hides_nothing(
    open_driver: Open, set_clock: SetClock
) -> None:
    driver = open_driver()
    messages, claims = SqliteMessages(driver._database), SqliteClaims(driver._database)
    records = SqliteRecords(driver._database)
    set_clock(NOON + TEN_YEARS)
    [early] = post(driver, ttl=1000)
    set_clock(NOON)
    assert [(message.id, message.age) for message in listed(driver)] == [(early, 0)]
    brief, soon = post(driver, ttl=10) + post(driver, ttl=60, delay=10)
    claim = claims.create(QUEUE, ttl=10.0, grace=0.0, limit=1)
    assert [message.id for message in claim.messages] == [early]
    dedup = EncodedMessage(b"1", 1.0, dedup_id="d")
    [first] = messages.post(QUEUE, [dedup], client_id="c")
    records.insert(SPACE, "a", b"{}", nonce="n", ttl=10.0)
    set_clock(NOON + 9.999)
    assert (ids(driver), records.count(SPACE)) == ([brief], 1)
    set_clock(NOON + 10)
    assert ids(driver) == [early, soon]
    assert claims.get(QUEUE, str(claim.id)) is None
    assert records.count(SPACE) == 0
    assert messages.post(QUEUE, [dedup], client_id="c") == [first]
    set_clock(NOON + DEDUP_WINDOW)
    assert messages.post(QUEUE, [dedup], client_id="c") != [first]


def test_positions_are_ahead_by_what_the_clock_was_set_back_also_after_reopening(
    open_driver: Open, set_clock: SetClock
) -> None:
    driver = open_driver()
    post(driver)
    set_clock(NOON - 3600)
    assert driver.health()["positions_ahead_seconds"] == 3600
    post(driver)
    set_clock(NOON)
    driver.close()
    driver = open_driver()
    assert driver.health()["positions_ahead_seconds"] == 3600
    post(driver)
    set_clock(NOON - 1)
    assert driver.health()["positions_ahead_seconds"] == 3601


def test_what_was_seen_expired_stays_so(open_driver: Open, set_clock: SetClock) -> None:
    driver = open_driver()
    messages, claims = SqliteMessages(driver._database), SqliteClaims(driver._database)
    posted = post(driver, 2, ttl=100)
    claim = claims.create(QUEUE, ttl=60.0, grace=0.0, limit=1)
    set_clock(NOON + 60)
    assert ids(driver) == posted
    set_clock(NOON)
    assert ids(driver) == posted
    assert claims.get(QUEUE, str(claim.id)) is None
    assert not claims.update(QUEUE, str(claim.id), ttl=60.0, grace=0.0)
    set_clock(NOON + 100)
    assert messages.stats(QUEUE).total == 0
    set_clock(NOON)
    assert ids(driver) == []
    assert messages.get(QUEUE, posted) == []


@pytest.mark.parametrize(
    "see",
    [
        lambda records: records.get(SPACE, "a") is None,
        lambda records: records.count(SPACE) == 0,
        lambda records: not records.scan(SPACE, limit=10),
        lambda records: not records.delete(SPACE, "a"),
    ],
    ids=["get", "count", "scan", "delete"],
)
def test_a_record_that_was_seen_expired_stays_so(
    open_driver: Open, set_clock: SetClock, see: Callable[[SqliteRecords], bool]
) -> None:
    records = SqliteRecords(open_driver()._database)
    version = records.insert(SPACE, "a", b"{}", nonce="n", ttl=60.0)
    set_clock(NOON + 60)
    assert see(records)
    set_clock(NOON)
    assert records.get(SPACE, "a") is None
    assert records.insert(SPACE, "a", b"{}", nonce="n") not in (None, version)


def test_order_and_ids_go_on_when_the_clock_goes_back(open_driver: Open, set_clock: SetClock) -> None:
    driver = open_driver()
    messages, claims = SqliteMessages(driver._database), SqliteClaims(driver._database)
    posted = []
    marker, followed = None, []
    for moment in (NOON, NOON - 10, NOON + 1, NOON - 3600, NOON + 1):
        set_clock(moment)
        posted += post(driver, 2, ttl=10_000)
        page = messages.list(
            QUEUE, marker=marker, limit=99, exclude_client=None, include_claimed=False, include_delayed=False
        )
        followed += [message.id for message in page.items]
        marker = page.marker
    assert ids(driver) == posted == followed
    seqs = [int(some_id.partition("-")[0], 16) for some_id in posted]
    claim = claims.create(QUEUE, ttl=60.0, grace=0.0, limit=3)
    assert [message.id for message in claim.messages] == posted[:3]
    assert seqs == sorted(set(seqs))
    messages.purge(QUEUE)
    set_clock(NOON - 9999)
    assert int(post(driver)[0].partition("-")[0], 16) > seqs[-1]


def test_a_delay_that_a_correction_made_longer_ends_behind_what_was_listed_meanwhile(
    open_driver: Open, set_clock: SetClock
) -> None:
    """Its end is a moment of the host's clock. Where markers had passed by then, it must come after them."""
    driver = open_driver()
    messages = SqliteMessages(driver._database)
    [delayed] = post(driver, ttl=1000, delay=60)
    set_clock(NOON - 100)
    posted = post(driver, ttl=1000)
    set_clock(NOON + 59.999)
    posted += post(driver, ttl=1000)
    page = messages.list(
        QUEUE, marker=None, limit=99, exclude_client=None, include_claimed=False, include_delayed=False
    )
    assert [message.id for message in page.items] == posted
    set_clock(NOON + 60)
    page = messages.list(
        QUEUE, marker=page.marker, limit=99, exclude_client=None, include_claimed=False, include_delayed=False
    )
    assert [message.id for message in page.items] == [delayed]


# --- released with a delay -----------------------------------------------------------------------


@pytest.mark.parametrize("named", [False, True])
def test_messages_released_with_a_delay_come_back_at_one_moment_in_the_order_in_which_they_stood(
    open_driver: Open, set_clock: SetClock, named: bool
) -> None:
    driver = open_driver()
    claims = SqliteClaims(driver._database)
    for delay in range(300, 0, -1):  # the last posted is the first in order
        post(driver, ttl=1000, delay=delay)
    set_clock(NOON + 300)
    claim = claims.create(QUEUE, ttl=60.0, grace=0.0, limit=300)
    stood = [message.id for message in claim.messages]
    claims.release(QUEUE, str(claim.id), message_ids=sorted(stood) if named else None, delay=10.0)
    set_clock(NOON + 309.999)
    before = post(driver)
    assert ids(driver) == before
    set_clock(NOON + 310)
    later = post(driver)
    assert ids(driver) == [*before, *stood, *later]


def test_a_delay_that_one_of_the_messages_would_not_outlive_is_refused_and_nothing_released(
    open_driver: Open, set_clock: SetClock
) -> None:
    driver = open_driver()
    claims = SqliteClaims(driver._database)
    posted = post(driver, ttl=1000) + post(driver, ttl=100)
    claim = claims.create(QUEUE, ttl=60.0, grace=20.0, limit=2)
    set_clock(NOON + 30)
    for message_ids in (None, posted, posted[1:]):
        with pytest.raises(
            InvalidDuration, match=r"a delay of 70 s is not shorter than .* left to live, 70 s; nothing"
        ):
            claims.release(QUEUE, str(claim.id), message_ids=message_ids, delay=70.0)
    held = claims.get(QUEUE, str(claim.id))
    assert held is not None
    assert [message.id for message in held.messages] == posted
    claims.release(QUEUE, str(claim.id), message_ids=posted[:1], delay=70.0)
    claims.release(QUEUE, str(claim.id), delay=69.999)
    set_clock(NOON + 99.999)
    assert ids(driver) == posted[1:]


def test_a_release_that_is_tried_again_is_judged_by_its_last_try(
    open_driver: Open, set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = open_driver()
    claims = SqliteClaims(driver._database)
    post(driver, ttl=1000)
    claim_id = str(claims.create(QUEUE, ttl=100, grace=0.0, limit=1).id)
    write_back = QueueTransaction.write_back

    def fail_once(transaction: QueueTransaction) -> None:
        monkeypatch.setattr(QueueTransaction, "write_back", write_back)
        set_clock(NOON)
        raise Busy("the database is locked")

    monkeypatch.setattr(QueueTransaction, "write_back", fail_once)
    set_clock(NOON + 50)
    claims.release(QUEUE, claim_id, delay=960)
    assert SqliteMessages(driver._database).stats(QUEUE).delayed == 1


def test_a_claims_grace_makes_room_for_a_longer_delay(open_driver: Open, set_clock: SetClock) -> None:
    driver = open_driver()
    claims = SqliteClaims(driver._database)
    posted = post(driver, ttl=1)
    claim = claims.create(QUEUE, ttl=60.0, grace=100.0, limit=1)
    claims.release(QUEUE, str(claim.id), delay=159.0)
    set_clock(NOON + 159)
    assert ids(driver) == posted


# --- settling ------------------------------------------------------------------------------------


def seen_at_each_write(driver: SqliteDriver, path: Path, column: str, work: Callable[[], object]) -> list[int]:
    """What another connection reads whenever ``work`` begins to write, and at the end."""
    seen: list[int] = []

    def see(statement: str = "BEGIN IMMEDIATE") -> None:
        if statement == "BEGIN IMMEDIATE":
            with closing(sqlite3.connect(path)) as other:
                seen.append(other.execute(f"SELECT {column}").fetchone()[0])

    database = driver._database
    for connection in database._connections.values():
        connection.set_trace_callback(see)
    work()
    see()
    return seen


@pytest.mark.parametrize("operation", ["stats", "list", "get", "first", "pop", "claim", "delete", "gc"])
def test_at_most_a_thousand_expire_in_a_transaction_and_the_next_goes_on_until_all_did(
    path: Path, open_driver: Open, set_clock: SetClock, ensure_whole: Ensure, operation: str
) -> None:
    driver = open_driver()
    messages, claims = SqliteMessages(driver._database), SqliteClaims(driver._database)
    old = post(driver, 2500, ttl=60)
    set_clock(NOON + 1)
    [lasting] = post(driver, ttl=3600)
    set_clock(NOON + 60)
    work: dict[str, Callable[[], object]] = {
        "stats": lambda: messages.stats(QUEUE).total,
        "list": lambda: ids(driver),
        "get": lambda: [message.id for message in messages.get(QUEUE, [old[0], lasting])],
        "first": lambda: getattr(messages.first(QUEUE, newest=False), "id", None),
        "pop": lambda: [message.id for message in messages.pop(QUEUE, limit=10)],
        "claim": lambda: [message.id for message in claims.create(QUEUE, ttl=9.0, grace=0.0, limit=10).messages],
        "delete": lambda: messages.delete(QUEUE, [old[0], lasting], claim_ids=None),
        "gc": driver.gc,
    }
    answers: list[object] = []
    counts = seen_at_each_write(driver, path, STORED, lambda: answers.append(work[operation]()))
    assert answers == [{"stats": 1, "first": lasting, "delete": {}, "gc": 2500}.get(operation, [lasting])]
    steps = [before - after for before, after in pairwise(counts)]
    assert max(steps) <= MAX_SETTLED_PER_CALL
    assert sum(steps) == 2500 + (operation in ("pop", "delete"))
    assert len([step for step in steps if step]) == 3
    driver.close()
    ensure_whole(path)


@pytest.mark.parametrize("kind", ["claimed", "delayed"])
def test_claims_and_delays_end_at_most_a_thousand_in_a_transaction(
    path: Path, open_driver: Open, set_clock: SetClock, ensure_whole: Ensure, kind: str
) -> None:
    driver = open_driver()
    posted = post(driver, 2500, ttl=3600, delay=60 if kind == "delayed" else 0)
    if kind == "claimed":
        SqliteClaims(driver._database).create(QUEUE, ttl=60.0, grace=0.0, limit=2500)
    set_clock(NOON + 60)
    answers: list[object] = []
    free = "free FROM queues"
    assert seen_at_each_write(driver, path, free, lambda: answers.append(ids(driver))) == [0, 1000, 2000, 2500]
    assert answers == [posted]
    assert rows(path)["claims"] == 0
    driver.close()
    ensure_whole(path)


@pytest.mark.parametrize(("batch", "posts"), [(1, 50), (999, 2), (1000, 2), (5000, 1)])
def test_a_queue_stops_growing_though_nobody_reads_it_and_nobody_calls_gc(
    path: Path, open_driver: Open, set_clock: SetClock, batch: int, posts: int
) -> None:
    driver = open_driver()
    sizes = []
    for generation in range(5):
        set_clock(NOON + generation * 60)
        for _ in range(posts):
            post(driver, batch, ttl=60)
        sizes.append(rows(path)["messages"])
    assert sizes == [batch * posts] * 5


def test_claims_and_dedup_ids_and_deleted_messages_leave_their_room_to_others(
    path: Path, open_driver: Open, set_clock: SetClock
) -> None:
    driver = open_driver()
    messages, claims = SqliteMessages(driver._database), SqliteClaims(driver._database)
    pages = []
    for generation in range(8):
        set_clock(NOON + generation * (DEDUP_WINDOW + 1))
        for number in range(10):
            batch = [EncodedMessage(bytes(200), 1000.0, dedup_id=f"{number}-{index}") for index in range(50)]
            assert len(set(messages.post(QUEUE, batch, client_id="c"))) == 50
            claim = claims.create(QUEUE, ttl=60.0, grace=0.0, limit=50)
            messages.delete(QUEUE, [message.id for message in claim.messages], claim_ids=[str(claim.id)])
        assert rows(path) == {"messages": 0, "claims": 0, "dedup": 500, "records": 0, "queues": 1}
        with closing(sqlite3.connect(path)) as connection:
            pages.append(connection.execute("PRAGMA page_count").fetchone()[0])
    assert max(pages[2:]) <= pages[1]


def test_gc_removes_everything_that_is_over_in_every_queue_and_says_how_much(
    path: Path, open_driver: Open, set_clock: SetClock, ensure_whole: Ensure
) -> None:
    driver = open_driver()
    messages, claims = SqliteMessages(driver._database), SqliteClaims(driver._database)
    records = SqliteRecords(driver._database)
    for name in ("a", "b"):
        old = [EncodedMessage(b"1", 60.0, dedup_id=str(number)) for number in range(1200)]
        messages.post(QueueKey("p", name), [*old, EncodedMessage(b"2", 3600.0)], client_id="c")
        claims.create(QueueKey("p", name), ttl=60.0, grace=0.0, limit=10)
        records.insert(SPACE, name, b"{}", nonce="n", ttl=60.0)
        records.insert(SPACE, f"{name}-lasting", b"{}", nonce="n")
    assert driver.gc() == 0
    set_clock(NOON + DEDUP_WINDOW)
    assert driver.gc() == 2 * (1200 + 1200 + 1)
    assert rows(path) == {"messages": 2, "claims": 0, "dedup": 0, "records": 2, "queues": 2}
    assert driver.gc() == 0
    assert messages.stats(QueueKey("p", "a")).total == 1
    driver.close()
    ensure_whole(path)


def test_a_purge_empties_at_once_and_sweeps_in_steps(
    path: Path, open_driver: Open, set_clock: SetClock, ensure_whole: Ensure
) -> None:
    driver = open_driver()
    messages, claims = SqliteMessages(driver._database), SqliteClaims(driver._database)
    batch = [EncodedMessage(b"1", 60.0, dedup_id=str(number)) for number in range(2500)]
    messages.post(QUEUE, batch, client_id="c")
    claims.create(QUEUE, ttl=60.0, grace=0.0, limit=1500)
    seen = []

    def work() -> None:
        messages.purge(QUEUE)
        seen.append(messages.stats(QUEUE).total)

    counts = seen_at_each_write(driver, path, STORED, work)
    assert seen == [0]
    assert max(before - after for before, after in pairwise(counts)) <= MAX_SETTLED_PER_CALL
    assert rows(path) == {"messages": 0, "claims": 0, "dedup": 0, "records": 0, "queues": 0}
    driver.close()
    ensure_whole(path)


def test_what_a_purge_had_no_time_to_sweep_nobody_sees_and_gc_does(
    path: Path, open_driver: Open, set_clock: SetClock, ensure_whole: Ensure
) -> None:
    post(open_driver(), 2500, ttl=60)
    hurried = open_driver(timeout=0.001)
    database = hurried._database
    deadline = database.deadline() + 10
    assert database.write(lambda connection: sweep.detach(connection, QUEUE), deadline)
    assert sweep.detached(database, database.deadline() - 10) == 0
    driver = open_driver()
    assert ids(driver) == []
    [again] = post(driver)
    assert rows(path)["messages"] == 2501
    assert driver.gc() == 2500
    assert ids(driver) == [again]
    driver.close()
    ensure_whole(path)


def test_the_clock_of_one_database_can_be_moved_for_a_test(path: Path, open_driver: Open) -> None:
    moved, other = open_driver(), open_driver(path.with_name("other.db"))
    for driver in (moved, other):
        post(driver, ttl=60)
    set_ahead(path, 60.0)
    try:
        assert (len(ids(moved)), len(ids(other))) == (0, 1)
        set_ahead(path, 0.0)
        assert ids(moved) == []
        post(moved, ttl=60)
        assert moved.health()["positions_ahead_seconds"] == pytest.approx(60, abs=30)
    finally:
        set_ahead(path, 0.0)
