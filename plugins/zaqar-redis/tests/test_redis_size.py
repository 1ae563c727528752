"""Large batches of large messages: replies stay bounded, and nothing is left out for good."""

from __future__ import annotations

from typing import Any

from zaqar_core.contract import EncodedMessage, QueueKey
from zaqar_redis.driver import RedisDriver

BODY = b"x" * 256 * 1024
COUNT = 300  # 256 of them fit


def fill(driver: RedisDriver, queue: QueueKey) -> list[str]:
    ids: list[str] = []
    for _ in range(3):
        ids += driver.messages.post(queue, [EncodedMessage(BODY, 600)] * (COUNT // 3), client_id="c")
    return ids


def test_pages_claims_and_pops_take_what_fits_into_a_reply(driver: RedisDriver, queue: QueueKey) -> None:
    ids = fill(driver, queue)
    shown: dict[str, Any] = {"exclude_client": None, "include_claimed": False, "include_delayed": False}
    page = driver.messages.list(queue, marker=None, limit=1_000, **shown)
    assert 200 < len(page.items) < COUNT
    assert page.more
    rest = driver.messages.list(queue, marker=page.marker, limit=1_000, **shown)
    assert not rest.more
    assert [each.id for each in (*page.items, *rest.items)] == ids
    others = driver.messages.list(queue, marker=None, limit=1_000, **{**shown, "exclude_client": "x"})
    assert [each.id for each in others.items] == ids
    claim = driver.claims.create(queue, ttl=60, grace=0, limit=1_000)
    popped = driver.messages.pop(queue, limit=1_000)
    assert [each.id for each in (*claim.messages, *popped)] == ids
    assert len(claim.messages) > 200
    driver.messages.purge(queue)


def test_what_is_asked_for_by_id_comes_whole(driver: RedisDriver, queue: QueueKey) -> None:
    ids = fill(driver, queue)
    assert [each.id for each in driver.messages.get(queue, ids)] == ids
    one = driver.claims.create(queue, ttl=60, grace=0, limit=100)
    driver.claims.release(queue, str(one.id))
    claim_id = str(driver.claims.create(queue, ttl=60, grace=0, limit=250).id)
    driver.messages.delete(queue, ids[1::2], claim_ids=[claim_id])
    claim = driver.claims.get(queue, claim_id)
    assert claim is not None
    assert [each.id for each in claim.messages] == ids[:250:2]
    assert {each.body for each in claim.messages} == {BODY}
    driver.messages.purge(queue)
