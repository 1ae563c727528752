"""Each judgement with small histories by hand: a good one that it must accept, bad ones that it must find."""

from __future__ import annotations

from typing import Any

import pytest

from zaqar_conformance import judge
from zaqar_conformance.check import Violation
from zaqar_conformance.history import Operation, Outcome

MS = 1_000_000


def op(
    span: tuple[float, float],
    name: str,
    result: Any = None,
    *,
    client: str = "c",
    outcome: Outcome = "ok",
    **given: Any,
) -> Operation:
    """An operation from ``span[0]`` to ``span[1]``, in milliseconds."""
    queue = given.pop("queue", "q")
    return Operation(client, name, queue, given, round(span[0] * MS), round(span[1] * MS), outcome, result)


def post(start: float, end: float, *ids: str, client: str = "p", ttl: float = 3600, delay: float = 0) -> Operation:
    return op((start, end), "messages.post", list(ids), client=client, count=len(ids), ttl=ttl, delay=delay)


def claim(start: float, end: float, name: str | None, *ids: str, ttl: float = 300, limit: int = 10) -> Operation:
    result = {"id": name, "messages": list(ids)}
    return op((start, end), "claims.create", result, client=f"{name}", ttl=ttl, grace=0, limit=limit)


def lost_claim(start: float, end: float, ttl: float) -> Operation:
    return op((start, end), "claims.create", ttl=ttl, grace=0, limit=10, outcome="unknown")


def update(start: float, end: float, name: str, ttl: float, outcome: Outcome = "ok") -> Operation:
    return op((start, end), "claims.update", id=name, ttl=ttl, grace=0, outcome=outcome)


def release(start: float, end: float, name: str, *ids: str, delay: float = 0, outcome: Outcome = "ok") -> Operation:
    return op((start, end), "claims.delete", id=name, ids=list(ids) or None, delay=delay, outcome=outcome)


def delete(start: float, end: float, message: str, claim_id: str | None = None, outcome: Outcome = "ok") -> Operation:
    return op((start, end), "messages.delete", id=message, claim=claim_id, outcome=outcome)


def bulk_delete(start: float, end: float, ids: list[str], refused: list[str]) -> Operation:
    return op((start, end), "messages.bulk_delete", refused, ids=ids, claims=None)


def purge(start: float, end: float, outcome: Outcome = "ok") -> Operation:
    return op((start, end), "messages.purge", outcome=outcome)


def pop(start: float, end: float, *ids: str, limit: int = 10, outcome: Outcome = "ok") -> Operation:
    return op((start, end), "messages.pop", list(ids) if outcome == "ok" else None, limit=limit, outcome=outcome)


def page(
    start: float, end: float, *ids: str, marker: str | None = None, then: str = "x", more: bool = False
) -> Operation:
    result = {"ids": list(ids), "marker": then, "more": more}
    given: dict[str, Any] = {"marker": marker, "limit": 10, "include_claimed": False, "include_delayed": False}
    return op((start, end), "messages.list", result, client="reader", **given)


def get(start: float, end: float, *ids: str) -> Operation:
    return op((start, end), "messages.get", list(ids), ids=list(ids))


def stats(start: float, end: float, free: int, claimed: int, delayed: int, total: int) -> Operation:
    counts = {"free": free, "claimed": claimed, "delayed": delayed, "total": total}
    return op((start, end), "messages.stats", counts)


POSTED = post(0, 1, "a", "b", "c")


class TestClaimedTwice:
    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([claim(2, 3, "A", "a"), claim(2, 3, "B", "b")], id="different messages"),
            pytest.param([claim(2, 3, "A", "a"), release(4, 9, "A"), claim(5, 6, "B", "a")], id="release under way"),
            pytest.param(
                [claim(2, 3, "A", "a"), release(4, 9, "A", outcome="unknown"), claim(50, 51, "B", "a")],
                id="perhaps released",
            ),
            pytest.param([claim(2, 3, "A", "a", ttl=0.05), claim(60, 61, "B", "a")], id="expired"),
            pytest.param(
                [claim(2, 30, "A", "a", ttl=0.05), claim(40, 55, "B", "a")], id="may have expired in the call"
            ),
            pytest.param([claim(2, 3, "A", "a"), update(4, 5, "A", 0.01), claim(20, 21, "B", "a")], id="shortened"),
            pytest.param(
                [claim(2, 3, "A", "a"), update(4, 5, "A", 0.01, "unknown"), claim(20, 21, "B", "a")],
                id="perhaps shortened",
            ),
            pytest.param(
                [claim(2, 3, "A", "a", "b"), release(4, 5, "A", "a"), claim(6, 7, "B", "a")], id="released in part"
            ),
            pytest.param([claim(2, 3, "A", "a"), purge(4, 5, "unknown"), claim(4, 9, "B", "a")], id="perhaps purged"),
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.claimed_twice([POSTED, *history]) == []

    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([claim(2, 3, "A", "a"), claim(4, 5, "B", "a")], id="one after the other"),
            pytest.param([claim(2, 5, "A", "a"), claim(3, 4, "B", "a")], id="at once"),
            pytest.param([claim(2, 3, "A", "a", "a")], id="in one claim"),
            pytest.param(
                [claim(2, 3, "A", "a", "b"), release(4, 5, "A", "b"), claim(6, 7, "B", "a")], id="other part released"
            ),
            pytest.param(
                [claim(2, 3, "A", "a", ttl=0.05), update(4, 5, "A", 9), claim(80, 81, "B", "a")], id="extended"
            ),
            pytest.param(
                [claim(2, 3, "A", "a"), release(4, 5, "A", outcome="refused"), claim(6, 7, "B", "a")],
                id="release refused",
            ),
            pytest.param(
                [claim(2, 3, "A", "a"), delete(4, 5, "a", outcome="refused"), claim(6, 7, "B", "a")],
                id="deletion refused",
            ),
            pytest.param(
                [claim(2, 3, "A", "a"), bulk_delete(4, 5, ["a"], ["a"]), claim(6, 7, "B", "a")],
                id="refused in bulk",
            ),
        ],
    )
    def test_bad(self, history: list[Operation]) -> None:
        findings = judge.claimed_twice([POSTED, *history])
        assert len(findings) == 1
        assert "a" in findings[0].what
        assert set(map(id, findings[0].operations)) >= {id(each) for each in history if each.name == "claims.create"}


class TestPops:
    def test_good(self) -> None:
        history = [POSTED, claim(2, 3, "A", "a"), pop(3, 4, "b"), release(5, 6, "A"), pop(5, 8, "a"), pop(7, 8, "c")]
        assert judge.claimed_and_popped(history) == []
        assert judge.popped_twice(history) == []

    def test_popped_after_the_claim_expired(self) -> None:
        assert judge.claimed_and_popped([POSTED, claim(2, 3, "A", "a", ttl=0.01), pop(20, 21, "a")]) == []

    @pytest.mark.parametrize(
        "history",
        [
            [claim(2, 3, "A", "a"), pop(4, 5, "a")],
            [claim(2, 5, "A", "a"), pop(3, 4, "a")],
            [pop(2, 3, "a"), claim(4, 5, "A", "a")],
            [claim(2, 3, "A", "a", "b"), release(4, 5, "A", "b"), pop(6, 7, "a")],
        ],
    )
    def test_claimed_and_popped(self, history: list[Operation]) -> None:
        assert len(judge.claimed_and_popped([POSTED, *history])) == 1

    @pytest.mark.parametrize("history", [[pop(2, 3, "a"), pop(2, 3, "a", "b")], [pop(2, 3, "a", "a")]])
    def test_popped_twice(self, history: list[Operation]) -> None:
        assert len(judge.popped_twice([POSTED, *history])) == 1


class TestToldNone:
    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([claim(2, 3, "A", "a", "b", "c"), claim(4, 5, None)], id="all claimed"),
            pytest.param([claim(2, 3, "A", "a", "b"), pop(4, 5, "c"), claim(6, 7, None)], id="claimed and popped"),
            pytest.param([claim(2, 6, "A", "a", "b", "c"), claim(1.5, 9, None)], id="at the same time"),
            pytest.param([lost_claim(2, 3, 30), claim(4, 5, None)], id="perhaps claimed"),
            pytest.param([pop(2, 3, outcome="unknown"), claim(4, 5, None)], id="perhaps popped"),
            pytest.param([purge(2, 3, "unknown"), claim(4, 5, None)], id="perhaps purged"),
            pytest.param(
                [claim(2, 3, "A", "a", "b", "c"), release(4, 9, "A"), claim(5, 6, None)], id="release under way"
            ),
            pytest.param(
                [claim(2, 3, "A", "a", "b", "c"), release(4, 5, "A", delay=1), claim(6, 7, None)], id="delayed"
            ),
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.told_none([POSTED, *history]) == []

    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([claim(2, 3, None)], id="nothing taken"),
            pytest.param([claim(2, 3, "A", "a", "b"), claim(2, 3, None)], id="one left"),
            pytest.param([claim(2, 3, "A", "a", "b", "c"), release(4, 5, "A", "b"), claim(6, 7, None)], id="released"),
            pytest.param([claim(2, 3, "A", "a", "b", "c", ttl=0.01), claim(20, 21, None)], id="expired"),
            pytest.param(
                [
                    claim(2, 3, "A", "a", "b"),
                    release(4, 5, "A"),
                    claim(6, 9, "B", "c"),
                    claim(1.5, 2.5, "C", "x"),
                    claim(5.5, 20, None),
                ],
                id="another throughout",
            ),
            pytest.param(
                [
                    claim(2, 3, "A", "a", "b"),
                    release(4, 5, "A", "a"),
                    claim(7, 9, "B", "c"),
                    claim(1.5, 8, None),
                ],
                id="now one, then another",
            ),
        ],
    )
    def test_bad(self, history: list[Operation]) -> None:
        assert len(judge.told_none([POSTED, *history])) == 1

    def test_what_is_expired_is_not_active(self) -> None:
        assert judge.told_none([post(0, 1, "a", ttl=0.01), claim(20, 21, None)]) == []

    def test_what_is_delayed_is_not_active(self) -> None:
        history = [post(0, 1, "a", delay=0.01)]
        assert judge.told_none([*history, claim(5, 6, None)]) == []
        assert len(judge.told_none([*history, claim(20, 21, None)])) == 1

    def test_a_reader_may_need_time_to_see(self) -> None:
        history = [POSTED, claim(2, 3, None)]
        assert judge.told_none(history, settle=1.0) == []
        assert len(judge.told_none([*history, claim(1500, 1501, None)], settle=1.0)) == 1


class TestClaimedOutOfOrder:
    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([claim(2, 3, "A", "a", "b"), claim(3, 4, "B", "c")], id="in order"),
            pytest.param([claim(2, 6, "A", "a"), claim(3, 4, "B", "b")], id="at the same time"),
            pytest.param(
                [claim(2, 3, "A", "a", "b"), release(4, 9, "A"), claim(5, 6, "B", "c")], id="release under way"
            ),
            pytest.param([claim(2, 3, "A", "a"), release(4, 5, "A", delay=9), pop(6, 7, "b")], id="moved by a delay"),
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.claimed_out_of_order([POSTED, *history]) == []

    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([claim(2, 3, "A", "b", "a")], id="within a claim"),
            pytest.param([claim(2, 3, "A", "b")], id="passed over"),
            pytest.param([pop(2, 3, "a"), pop(4, 5, "c")], id="passed over by a pop"),
            pytest.param(
                [claim(2, 3, "A", "a"), release(4, 5, "A"), claim(6, 7, "B", "b")], id="released, passed over"
            ),
        ],
    )
    def test_bad(self, history: list[Operation]) -> None:
        assert len(judge.claimed_out_of_order([POSTED, *history])) == 1

    def test_producers_are_apart_and_so_are_overlapping_posts(self) -> None:
        posts = [post(0, 1, "a", client="p"), post(0, 1, "b", client="r"), post(2, 5, "c"), post(4, 6, "d")]
        assert judge.claimed_out_of_order([*posts, claim(7, 8, "A", "b", "d", "a", "c")]) == []


class TestLost:
    @pytest.mark.parametrize(
        "history",
        [
            [delete(2, 3, "b")],
            [delete(2, 3, "b", outcome="unknown")],
            [pop(2, 3, "b")],
            [pop(2, 3, limit=1, outcome="unknown")],
            [purge(2, 3)],
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.lost([POSTED, *history], {"a", "c"}) == []

    def test_all_found(self) -> None:
        assert judge.lost([POSTED], ["a", "b", "c"]) == []

    def test_expired(self) -> None:
        assert judge.lost([post(0, 1, "a", ttl=0.05)], [], at=60 * MS) == []
        assert len(judge.lost([post(0, 1, "a", ttl=0.05)], [], at=30 * MS)) == 1

    def test_a_post_of_unknown_outcome_need_not_be_there(self) -> None:
        assert judge.lost([op((0, 1), "messages.post", outcome="unknown", count=3, ttl=60, delay=0)], []) == []

    @pytest.mark.parametrize(
        "history",
        [
            [],
            [claim(2, 3, "A", "b")],
            [delete(2, 3, "b", outcome="refused")],
            [bulk_delete(2, 3, ["b"], ["b"])],
        ],
    )
    def test_bad(self, history: list[Operation]) -> None:
        findings = judge.lost([POSTED, *history], {"a", "c"})
        assert [finding.operations[0] for finding in findings] == [POSTED]

    def test_one_lost_reply_excuses_no_more_than_its_limit(self) -> None:
        assert len(judge.lost([POSTED, pop(2, 3, limit=1, outcome="unknown")], {"a"})) == 2


class TestResurrected:
    @pytest.mark.parametrize(
        "history",
        [
            [delete(2, 5, "a"), get(3, 4, "a")],
            [delete(2, 3, "a", outcome="unknown"), get(4, 5, "a")],
            [delete(2, 3, "a", outcome="refused"), get(4, 5, "a")],
            [delete(2, 3, "a"), get(4, 5, "b")],
            [purge(2, 3), post(3, 4, "d"), get(5, 6, "d")],
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.resurrected([POSTED, *history]) == []

    @pytest.mark.parametrize(
        "history",
        [
            [delete(2, 3, "a"), get(4, 5, "a")],
            [delete(2, 3, "a"), page(4, 5, "a", "b")],
            [bulk_delete(2, 3, ["a", "b"], ["b"]), claim(4, 5, "A", "a", "b")],
            [pop(2, 3, "a"), get(4, 5, "a")],
            [purge(2, 3), get(4, 5, "a")],
        ],
    )
    def test_bad(self, history: list[Operation]) -> None:
        assert len(judge.resurrected([POSTED, *history])) == 1

    def test_a_reader_may_need_time_to_see(self) -> None:
        assert judge.resurrected([POSTED, delete(2, 3, "a"), get(4, 5, "a")], settle=0.1) == []
        assert len(judge.resurrected([POSTED, delete(2, 3, "a"), get(400, 405, "a")], settle=0.1)) == 1


class TestTorn:
    @pytest.mark.parametrize(
        "history",
        [
            [page(2, 3, "a", "b", "c")],
            [page(0.2, 0.3)],
            [page(2, 3, "a", "b", more=True)],
            [delete(2, 5, "c"), page(3, 4, "a", "b")],
            [claim(2, 3, "A", "a", "b", limit=2)],
            [claim(2, 5, "A", "c"), claim(3, 4, "B", "a", "b")],
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.torn([POSTED, *history]) == []

    @pytest.mark.parametrize("history", [[page(0.2, 0.3, "a")], [claim(0.2, 0.3, "A", "a", "b")], [pop(0.2, 0.3, "c")]])
    def test_bad(self, history: list[Operation]) -> None:
        assert len(judge.torn([POSTED, *history])) == 1


class TestMiscounted:
    @pytest.mark.parametrize(
        "history",
        [
            [stats(2, 3, 3, 0, 0, 3)],
            [stats(0.2, 0.3, 0, 0, 0, 0)],
            [stats(0.2, 0.3, 2, 0, 0, 2)],
            [claim(2, 3, "A", "a"), stats(4, 5, 2, 1, 0, 3)],
            [claim(2, 5, "A", "a"), stats(3, 4, 3, 0, 0, 3)],
            [delete(2, 5, "a"), stats(3, 4, 2, 0, 0, 2)],
            [delete(2, 3, "a", outcome="unknown"), stats(4, 5, 3, 0, 0, 3)],
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.miscounted([POSTED, *history]) == []

    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([stats(2, 3, 3, 0, 0, 2)], id="does not add up"),
            pytest.param([stats(2, 3, 4, -1, 0, 3)], id="negative"),
            pytest.param([stats(2, 3, 2, 0, 0, 2)], id="one short"),
            pytest.param([stats(2, 3, 4, 0, 0, 4)], id="one too many"),
            pytest.param([delete(2, 3, "a"), stats(4, 5, 3, 0, 0, 3)], id="still counted"),
            pytest.param([claim(2, 3, "A", "a"), stats(4, 5, 3, 0, 0, 3)], id="claimed counted as free"),
            pytest.param([stats(2, 3, 2, 1, 0, 3)], id="free counted as claimed"),
        ],
    )
    def test_bad(self, history: list[Operation]) -> None:
        assert len(judge.miscounted([POSTED, *history])) == 1


class TestListings:
    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([page(2, 3, "a", "b", more=True), page(4, 5, "c", marker="x", then="y")], id="whole"),
            pytest.param([page(2, 3, "a", "c"), delete(1, 9, "b")], id="deleted meanwhile"),
            pytest.param([claim(1, 2, "A", "b"), page(2, 3, "a", "c")], id="claimed meanwhile"),
            pytest.param([page(2, 3, "a", more=True)], id="not gone on with"),
            pytest.param([page(2, 3, "a", "b", "c"), page(4, 5, "a", "b", "c")], id="two listings"),
            pytest.param(
                [
                    page(2, 3, "a", "b", more=True),
                    claim(4, 5, "A", "a"),
                    release(6, 7, "A", delay=0.01),
                    page(30, 31, "c", "a", marker="x", then="y"),
                ],
                id="moved behind the marker",
            ),
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.marker_faults([POSTED, *history]) == []
        assert judge.listed_out_of_order([POSTED, *history]) == []

    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([page(2, 3, "a", "c")], id="missed"),
            pytest.param([page(2, 3, "a", more=True), page(4, 5, "c", marker="x", then="y")], id="missed between"),
            pytest.param(
                [page(2, 3, "a", "b", more=True), page(4, 5, "b", "c", marker="x", then="y")], id="shown twice"
            ),
            pytest.param(
                [page(0.1, 0.2), page(4, 5, "a", "b", marker="x", then="y")], id="missed by one that waited for it"
            ),
        ],
    )
    def test_marker_faults(self, history: list[Operation]) -> None:
        assert len(judge.marker_faults([POSTED, *history])) == 1

    @pytest.mark.parametrize(
        "history",
        [
            [page(2, 3, "b", "a", "c")],
            [page(2, 3, "b", "c", more=True), page(4, 5, "a", marker="x", then="y")],
        ],
    )
    def test_out_of_order(self, history: list[Operation]) -> None:
        assert len(judge.listed_out_of_order([POSTED, *history])) == 1

    def test_order_of_separate_posts(self) -> None:
        posts = [post(0, 1, "a"), post(2, 3, "b"), post(0, 1, "z", client="other")]
        assert judge.listed_out_of_order([*posts, page(5, 6, "a", "z", "b")]) == []
        assert len(judge.listed_out_of_order([*posts, page(5, 6, "z", "b", "a")])) == 1


def queues(start: float, end: float, *names: str, marker: str | None = None, more: bool = False) -> Operation:
    result = {"names": list(names), "marker": names[-1] if names else marker, "more": more}
    return op((start, end), "queues.list", result, queue="", marker=marker, limit=10)


def create(start: float, end: float, name: str, result: bool = True, outcome: Outcome = "ok") -> Operation:
    return op((start, end), "queues.create", result if outcome == "ok" else None, queue=name, outcome=outcome)


class TestQueueListings:
    MADE = (create(0, 1, "a"), create(0, 1, "b"), create(0, 1, "c"), create(3, 9, "d"))

    @pytest.mark.parametrize(
        "history",
        [
            [queues(4, 5, "a", "b", "c")],
            [queues(4, 5, "a", "b", more=True), queues(6, 7, "c", "d", marker="b")],
            [queues(4, 5, "a", "c"), op((20, 21), "queues.delete", queue="b")],
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.queue_listing_faults([*self.MADE, *history]) == []

    @pytest.mark.parametrize(
        "history",
        [
            [queues(4, 5, "a", "c")],
            [queues(4, 5, "a", "b", more=True), queues(6, 7, "b", "c", marker="b")],
            [queues(4, 5, "b", "a", "c")],
        ],
    )
    def test_bad(self, history: list[Operation]) -> None:
        assert len(judge.queue_listing_faults([*self.MADE, *history])) == 1


class TestWinners:
    @pytest.mark.parametrize(
        "history",
        [
            [create(0, 2, "a"), create(1, 2, "a", result=False), create(0, 1, "b")],
            [create(0, 2, "a", outcome="unknown"), create(1, 2, "a", result=False)],
            [create(0, 1, "a"), op((2, 3), "queues.delete", queue="a"), create(4, 5, "a")],
            [
                op((0, 1), "records.replace", "2", queue="k", version="1"),
                op((0, 1), "records.replace", None, queue="k", version="1"),
                op((2, 3), "records.replace", "3", queue="k", version="2"),
            ],
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.winners(history) == []

    @pytest.mark.parametrize(
        "history",
        [
            [create(0, 2, "a"), create(1, 2, "a")],
            [create(0, 2, "a", result=False), create(1, 2, "a", result=False)],
            [op((0, 1), "records.insert", version, queue="k") for version in ("1", "2")],
            [op((0, 1), "records.replace", version, queue="k", version="1") for version in ("2", "3")],
            [op((0, 1), "records.delete", True, queue="k", version="1") for _ in range(2)],
        ],
    )
    def test_bad(self, history: list[Operation]) -> None:
        assert len(judge.winners(history)) == 1


def test_queues_are_judged_apart() -> None:
    elsewhere = op((4, 5), "claims.create", {"id": None, "messages": []}, queue="other", ttl=1, grace=0, limit=1)
    assert judge.told_none([POSTED, elsewhere]) == []


def test_demand() -> None:
    judge.demand("CLM-018", [])
    with pytest.raises(Violation, match=r"CLM-018: message a was .* \(and 1 more like it\)") as caught:
        judge.demand(
            "CLM-018",
            judge.claimed_twice([POSTED, claim(2, 3, "A", "a", "b"), claim(4, 5, "B", "a", "b")]),
        )
    assert caught.value.history


class TestDeletedFromClaims:
    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([claim(2, 3, "A", "a"), delete(4, 5, "a", "A")], id="by its holder"),
            pytest.param([claim(2, 3, "A", "a"), delete(4, 5, "a", outcome="refused")], id="refused"),
            pytest.param([claim(2, 3, "A", "a"), release(4, 9, "A"), delete(5, 6, "a")], id="release under way"),
            pytest.param([claim(2, 3, "A", "a", ttl=0.01), delete(20, 21, "a")], id="expired"),
            pytest.param(
                [claim(2, 3, "A", "a"), delete(4, 7, "a", "A"), bulk_delete(5, 8, ["a"], [])], id="absent then"
            ),
            pytest.param([claim(2, 3, "A", "a"), delete(4, 5, "a", outcome="unknown")], id="perhaps deleted"),
        ],
    )
    def test_good(self, history: list[Operation]) -> None:
        assert judge.deleted_from_claims([POSTED, *history]) == []

    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([claim(2, 3, "A", "a"), delete(4, 5, "a")], id="without a claim"),
            pytest.param([claim(2, 3, "A", "a"), delete(4, 5, "a", "B")], id="with another claim"),
            pytest.param([claim(2, 5, "A", "a"), bulk_delete(1, 4, ["a", "b"], ["b"])], id="at once"),
        ],
    )
    def test_bad(self, history: list[Operation]) -> None:
        assert len(judge.deleted_from_claims([POSTED, *history])) == 1


@pytest.mark.parametrize(
    ("judgement", "history", "offending"),
    [
        (judge.claimed_twice, [POSTED, claim(2, 3, "A", "a"), claim(4, 5, "B", "a"), release(6, 7, "B")], [1, 2]),
        (judge.claimed_and_popped, [POSTED, claim(2, 3, "A", "a"), pop(4, 5, "a")], [1, 2]),
        (judge.deleted_from_claims, [POSTED, claim(2, 3, "A", "a"), delete(4, 5, "a")], [1, 2]),
        (judge.told_none, [POSTED, claim(2, 3, None)], [1]),
        (judge.claimed_out_of_order, [POSTED, post(2, 3, "d"), claim(4, 5, "A", "d")], [2]),
        (judge.resurrected, [POSTED, delete(2, 3, "a"), get(4, 5, "a"), get(6, 7, "b")], [1, 2]),
        (judge.torn, [POSTED, page(2, 3, "a", "b")], [1]),
        (judge.listed_out_of_order, [POSTED, page(2, 3, "b", "a", "c")], [1]),
    ],
)
def test_a_finding_says_which_operations_cannot_all_be_right(
    judgement: Any, history: list[Operation], offending: list[int]
) -> None:
    finding = judgement(history)[0]
    assert [id(each) for each in finding.offending] == [id(history[index]) for index in offending]
    assert {id(each) for each in finding.offending} < {id(each) for each in finding.operations}
    with pytest.raises(Violation) as raised:
        judge.demand("MSG-001", [finding])
    assert raised.value.offending == finding.offending
