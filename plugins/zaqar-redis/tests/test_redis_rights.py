"""The rights that the operator's page gives the driver's user: enough for everything, and no more than it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
import redis

from zaqar_core.capabilities import Capability
from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import RedisClusterTarget, RedisSentinelTarget, RedisTarget, plain_client

RIGHTS: Final = [
    *("+@read", "+@write", "+@connection", "-@dangerous", "+eval", "+evalsha", "+time", "+info", "+config|get"),
]
BEHIND_SENTINELS: Final = ["+role"]
IN_A_CLUSTER: Final = ["+cluster|slots"]
OF_SENTINELS: Final = ["+@connection", "+sentinel|get-master-addr-by-name"]

AnyTarget = RedisTarget | RedisClusterTarget | RedisSentinelTarget


@pytest.fixture(params=[RedisTarget, RedisClusterTarget, RedisSentinelTarget])
def target(request: pytest.FixtureRequest) -> Iterator[AnyTarget]:
    one: AnyTarget = request.param()
    yield one
    one.stop()


def grant(target: AnyTarget, rights: Sequence[str]) -> None:
    for server in target.started():
        with closing(plain_client(server.port)) as client:
            client.execute_command("ACL", "SETUSER", "queues", "reset", "on", ">pw", "~zaqar:*", *rights)


def do_everything(driver: RedisDriver, queue: QueueKey) -> None:
    messages, claims, records = driver.messages, driver.claims, driver.records
    batch = [EncodedMessage(b"1", 600, dedup_id=f"d{number}") for number in range(50)]
    ids = messages.post(queue, batch, client_id="c")
    assert messages.post(queue, batch, client_id="c") == ids
    assert len(messages.get(queue, ids)) == 50
    for hidden in (None, "c"):
        messages.list(queue, marker=None, limit=5, exclude_client=hidden, include_claimed=True, include_delayed=True)
    assert messages.first(queue, newest=True)
    one, other = (str(claims.create(queue, ttl=60, grace=60, limit=20).id) for _ in range(2))
    assert claims.get(queue, one)
    assert claims.update(queue, one, ttl=90, grace=60)
    assert messages.delete(queue, ids[:3], claim_ids=[one]) == {}
    claims.release(queue, one, message_ids=ids[3:5], delay=30)
    claims.release(queue, one)
    claims.update(queue, other, ttl=0.001, grace=0)
    assert len(messages.pop(queue, limit=5)) == 5
    messages.post(queue, [EncodedMessage(b"1", 0.001)], client_id="c")
    space = Space("queues", queue.project)
    version = records.insert(space, "k", b"1", nonce="n", ttl=60)
    assert version
    assert records.replace(space, "k", b"2", version=version, nonce="m")
    assert records.get(space, "k")
    assert records.count(space) == len(records.scan(space, limit=5)) == 1
    assert records.delete(space, "k")
    driver.gc()
    assert messages.stats(queue).total == 42
    messages.purge(queue)
    driver.ping()
    assert driver.health()


def test_they_are_enough_and_no_more(target: AnyTarget, tmp_path: Path, queue: QueueKey) -> None:
    uri = target.start(tmp_path)
    grant(target, [*RIGHTS, *BEHIND_SENTINELS, *IN_A_CLUSTER])
    mine = Uri.parse(uri.replace("://", "://queues:pw@"))
    with closing(RedisDriver.open(mine, connect_timeout=10, timeout=10)) as driver:
        do_everything(driver, queue)
        assert Capability.AT_LEAST_ONCE in driver.capabilities
    with redis.Redis(port=target.started()[0].port, username="queues", password="pw") as client:
        for forbidden in ("FLUSHALL", "FLUSHDB", "SHUTDOWN", "CONFIG SET maxmemory 1", "SET other 1"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*forbidden.split())
    grant(target, RIGHTS)
    if isinstance(target, RedisClusterTarget):
        with pytest.raises(StorageUnavailable, match="may not do this"):
            RedisDriver.open(mine, connect_timeout=10, timeout=10)
    else:
        with closing(RedisDriver.open(mine, connect_timeout=10, timeout=10)) as driver:
            driver.ping()


def test_those_of_a_user_of_sentinels(tmp_path: Path) -> None:
    target = RedisSentinelTarget()
    try:
        uri = target.start(tmp_path)
        with closing(plain_client(target._sentinel_port())) as client:
            client.execute_command("ACL", "SETUSER", "asker", "on", ">pw", *OF_SENTINELS)
        asked = Uri.parse(uri, {"sentinel_username": "asker", "sentinel_password": "pw"})
        with closing(RedisDriver.open(asked, connect_timeout=10, timeout=10)) as driver:
            driver.ping()
    finally:
        target.stop()
