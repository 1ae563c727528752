"""A move of dead letters in another order, or without dedup ids, is found out."""

from __future__ import annotations

from typing import Any

import pytest

from zaqar_conformance.engine import run
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.target import find_target
from zaqar_core.claims import Claims
from zaqar_core.contract import EncodedMessage


def deletes_first(claims: Any, queue: Any, claim_id: str, dead: Any, target: Any, ttl: Any) -> None:
    claims._messages.delete(queue, [message.id for message in dead], claim_ids=[claim_id])
    letters = [EncodedMessage(message.body, 60.0) for message in dead]
    claims._messages.post(target, letters, client_id="x")


def posts_without_dedup_ids(claims: Any, queue: Any, claim_id: str, dead: Any, target: Any, ttl: Any) -> None:
    letters = [EncodedMessage(message.body, 60.0) for message in dead]
    claims._messages.post(target, letters, client_id="x")
    claims._messages.delete(queue, [message.id for message in dead], claim_ids=[claim_id])


@pytest.mark.parametrize(
    ("move", "said"), [(deletes_first, "at least once, got"), (posts_without_dedup_ids, "once, got")]
)
@pytest.mark.parametrize(
    "check", ["dead_letters_outlive_a_vanished_mover", "dead_letters_outlive_a_mover_between_backends"]
)
def test_a_wrong_move_is_found(check: str, move: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Claims, "_bury", move)
    (result,) = run(find_target("memory"), only=[check]).checks
    assert result.outcome is Outcome.FAILED
    assert said in result.message
