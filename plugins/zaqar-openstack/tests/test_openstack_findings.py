"""The suite finds what is known to be wrong with OpenStack Zaqar's Redis driver, by the report of its session."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import redis

from zaqar_core.contract import QueueKey
from zaqar_openstack.driver import OpenStackDriver

REPORT = os.environ.get("ZAQAR_REPORT")
"""The path of a report.json on one of the targets; the session gives it."""

BIG = "openstack-redis"
SMALL = "openstack-redis-small"
FOUND = [
    (BIG, "a post of 3 999", "a_post_takes_thousands", "MSG-002", "too many results to unpack"),
    (SMALL, "claims take what others hold", "what_is_held_behind_free_messages_stays_held", "CLM-018", "got"),
    (SMALL, "claims take what is delayed", "what_is_delayed_behind_free_messages_is_not_claimed", "MSG-027", "got"),
    (SMALL, "pop is a short claim", "pops_that_may_fail_give_nothing_twice", "POP-004", "given more than once"),
    (
        SMALL,
        "8 000 expired",
        "thousands_of_long_expired_messages_wedge_no_claim",
        "MSG-011",
        "too many results to unpack",
    ),
    (SMALL, "claimed messages vanish", "claimed_messages_are_there_long_after_their_ttl", "CLM-006", "1 missing"),
    (SMALL, "claims that expired", "long_ended_claims_are_none", "CLM-015", "stats: .* TypeError"),
    (SMALL, "a member vanished", "claims_are_renewed_and_released_long_after_ttls", "CLM-009", "update .* TypeError"),
    (SMALL, "ids of others, read", "foreign_message_ids_are_not_fetched", "NAM-007", "3 too many"),
    (SMALL, "ids of others, deleted", "foreign_message_ids_are_not_deleted", "NAM-007", "3 missing"),
    (SMALL, "names that collide", "joined_names_stay_apart", "NAM-004", "1 too many"),
    (SMALL, "names of keys", "queues_named_like_internal_keys_are_just_queues", "NAM-005", ""),
    (SMALL, "a marker's message deleted", "a_marker_of_a_deleted_message_goes_on_behind_it", "LST-007", "got"),
    (SMALL, "an empty page", "an_empty_page_says_what_lies_behind_claimed_messages", "LST-005", "2 are active"),
    (SMALL, "expired ones count", "long_expired_messages_are_not_counted", "MSG-010", r"\(305, 0, 0, 305\)"),
    (SMALL, "gc removes half", "long_expired_messages_are_not_counted_after_gc", "MSG-010", r"\(105, 0, 0, 105\)"),
    (SMALL, "claims outlive the queue", "purged_messages_do_not_come_back_with_time", "MSG-020", r"\(-1, 3, 0, 2\)"),
    (
        SMALL,
        "what is not answered is repeated",
        "what_was_not_answered_happened_at_most_once",
        "FAI-012",
        "expected at least",
    ),
    (SMALL, "cost grows", "depth_of_claimed_messages_costs_little", "CAP-003", "list takes .* round trips"),
]


def report() -> dict[str, Any]:
    if REPORT is None:
        pytest.skip("no report was made; nox -s 'conformance(openstack-redis-small)' makes one")
    loaded: dict[str, Any] = json.loads(Path(REPORT).read_text("utf-8"))
    return loaded


@pytest.mark.parametrize(
    ("target", "check", "requirement", "said"), [pytest.param(*row[:1], *row[2:], id=row[1]) for row in FOUND]
)
def test_a_known_defect_is_found(target: str, check: str, requirement: str, said: str) -> None:
    found = report()
    if found["target"] != target:
        pytest.skip(f"it is found on {target}")
    [result] = [each for each in found["checks"] if each["name"] == check]
    assert result["outcome"] == "failed"
    assert requirement in (result["requirement"], *result["requirements"])
    assert re.search(said, result["message"], re.DOTALL), result["message"]


def test_what_it_claims_for_itself_does_not_hold() -> None:
    found = report()
    verdicts = {each["name"]: each["verdict"] for each in found["capabilities"] if each["declared"]}
    assert {verdicts[name] for name in ("EXCLUSIVE_CLAIMS", "HIGH_THROUGHPUT", "FIFO", "AT_LEAST_ONCE")} == {"failed"}


def test_no_error_is_the_suites() -> None:
    assert [each["name"] for each in report()["checks"] if each["outcome"] == "error"] == []


def test_one_defect_is_stepped_around(driver: OpenStackDriver, queue: QueueKey) -> None:
    """Without a marker it cannot list claimed messages at all; the wrapper gives an empty one."""
    driver.messages.list(queue, marker=None, limit=1, exclude_client=None, include_claimed=True, include_delayed=True)
    driver._peer.register(queue)
    results = driver._peer.messages.list(queue.name, project=queue.project, include_claimed=True)
    with pytest.raises(redis.exceptions.DataError):
        next(results)
