"""Whatever a driver answers, a check says that the driver is wrong: it does not break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zaqar_conformance.check import Check
from zaqar_conformance.checks import all_checks
from zaqar_conformance.engine import run
from zaqar_conformance.outcomes import Outcome, judge
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_conformance.target import find_target
from zaqar_core import Claim
from zaqar_core.contract import StoredMessage
from zaqar_core.models import QueueStats

STRANGER = StoredMessage("stranger", b"1", 60.0, 0.0, "somebody", None, 0, {})


def nothing(answer: Any) -> None:
    return None


def empty(answer: Any) -> list[object]:
    return []


def no_ids(ids: list[str]) -> list[None]:
    return [None] * len(ids)


def a_stranger(answer: Any) -> list[StoredMessage]:
    return [STRANGER]


def counts_of_nothing(answer: Any) -> Any:
    return QueueStats(*[None] * 6)  # type: ignore[arg-type]  # a wrong driver's


def an_id_without_messages(claim: Any) -> Any:
    return claim and claim._replace(id=claim.id or "made-up", messages=[])


def claim_a_stranger(claim: Any) -> Any:
    return claim._replace(messages=[STRANGER])


def an_empty_page(page: Any) -> Any:
    return page._replace(items=[])


def a_page_of_strangers(page: Any) -> Any:
    return page._replace(items=[STRANGER])


WRONG: list[tuple[type, str, Callable[[Any], Any]]] = [
    (ReferenceMessages, "post", empty),
    (ReferenceMessages, "post", no_ids),
    (ReferenceMessages, "get", empty),
    (ReferenceMessages, "list", an_empty_page),
    (ReferenceMessages, "list", a_page_of_strangers),
    (ReferenceMessages, "first", nothing),
    (ReferenceMessages, "pop", nothing),
    (ReferenceMessages, "stats", counts_of_nothing),
    (ReferenceClaims, "create", an_id_without_messages),
    (ReferenceClaims, "create", claim_a_stranger),
    (ReferenceClaims, "get", an_id_without_messages),
    (ReferenceRecords, "scan", nothing),
]


def checks() -> list[Check]:
    """Those that neither take long nor wait, and that this process can do alone."""
    return [each for each in all_checks() if not (each.thorough or each.waits or each.destructive)]


@pytest.mark.parametrize(
    ("part", "method", "change"),
    WRONG,
    ids=[f"{part.__name__}-{name}-{change.__name__}" for part, name, change in WRONG],
)
def test_no_wrong_answer_breaks_a_check(
    part: type, method: str, change: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(part, method)
    monkeypatch.setattr(part, method, lambda *args, **options: change(right(*args, **options)))
    report = run(find_target("memory"), checks=checks(), profile="data")
    assert [f"{each.name}: {each.message}" for each in report.checks if each.outcome is Outcome.ERROR] == []
    assert any(each.outcome is Outcome.FAILED for each in report.checks)


def test_a_claim_with_an_id_and_no_messages_breaks_clm_002(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ReferenceClaims.create
    monkeypatch.setattr(
        ReferenceClaims, "create", lambda *args, **options: an_id_without_messages(right(*args, **options))
    )
    for check in run(find_target("memory"), only=["CLM-018"]).checks:
        assert (check.outcome, check.requirement) == (Outcome.FAILED, "CLM-002"), check


# --- whose fault it is --------------------------------------------------------------------------------------------


def judged(call: Callable[[], object]) -> tuple[Outcome, str]:
    try:
        call()
    except Exception as error:
        judgement = judge(error, __name__)
        return judgement.outcome, judgement.message
    raise AssertionError("nothing was raised")


def test_what_a_check_cannot_read_is_shown_with_its_line() -> None:
    def reads() -> None:
        claim = Claim("id", 60.0, 0.0, [])
        assert claim.messages[0].id

    outcome, message = judged(reads)
    assert outcome is Outcome.FAILED
    assert "IndexError: list index out of range" in message
    assert "in assert claim.messages[0].id" in message
    assert "claim = Claim(id='id'" in message


def test_what_breaks_on_a_value_is_the_drivers_fault() -> None:
    answer: Any = []
    misreadings: list[Callable[[], object]] = [
        lambda: answer[0],
        lambda: dict(answer)["stranger"],
        lambda: answer.index("stranger"),
        lambda: next(iter(answer)),
        lambda: list(zip([1], answer, strict=True)),
        lambda: min(answer),
        lambda: answer + None,
        lambda: [each.id for each in [*answer, None]],
    ]
    assert [judged(each)[0] for each in misreadings] == [Outcome.FAILED] * len(misreadings)


def test_what_the_suite_raises_is_its_own_fault() -> None:
    def refuses() -> None:
        raise ValueError("100 is too few")

    def insists() -> None:
        answer: object = []
        assert answer

    def runs_out() -> None:
        raise OSError(24, "too many open files")

    for call in (refuses, insists, runs_out, lambda: undefined):  # type: ignore[name-defined]  # noqa: F821
        outcome, message = judged(call)
        assert outcome is Outcome.ERROR
        assert message.startswith("the check itself broke: ")
