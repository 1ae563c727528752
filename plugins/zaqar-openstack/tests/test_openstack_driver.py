"""What the wrapper itself promises: shapes are translated by the rules of the README, and errors in one place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from zaqar_core import Capability, connect
from zaqar_core.contract import EncodedMessage, QueueKey, Refusal
from zaqar_core.errors import (
    InvalidBody,
    InvalidOption,
    InvalidUri,
    OutcomeUnknown,
    StorageError,
    StorageUnavailable,
    Unsupported,
)
from zaqar_core.uri import Uri
from zaqar_openstack.driver import OpenStackDriver
from zaqar_openstack.errors import reading
from zaqar_openstack.options import settings_of
from zaqar_openstack.target import OpenStackRedisTarget


def post(driver: OpenStackDriver, queue: QueueKey, *bodies: object, ttl: float = 600, delay: float = 0) -> list[str]:
    messages = [EncodedMessage(json.dumps(body).encode(), ttl, delay) for body in bodies]
    return driver.messages.post(queue, messages, client_id="somebody")


def listed(driver: OpenStackDriver, queue: QueueKey, *, exclude_client: str | None = None) -> Sequence[Any]:
    page = driver.messages.list(
        queue, marker=None, limit=10, exclude_client=exclude_client, include_claimed=False, include_delayed=False
    )
    return [json.loads(message.body) for message in page.items]


def test_what_is_posted_is_claimed_and_deleted(driver: OpenStackDriver, queue: QueueKey) -> None:
    bodies = [{"a": [1, 2.5, None, True, "é"]}, None, "text"]
    ids = post(driver, queue, *bodies)
    assert listed(driver, queue) == bodies
    claim = driver.claims.create(queue, ttl=60, grace=60, limit=2)
    assert claim.id is not None
    assert [message.id for message in claim.messages] == ids[:2]
    assert listed(driver, queue) == bodies[2:]
    assert driver.messages.delete(queue, ids[:1], claim_ids=None) == {ids[0]: Refusal.MESSAGE_IS_CLAIMED}
    assert driver.messages.delete(queue, ids[:1], claim_ids=[claim.id]) == {}
    driver.claims.release(queue, claim.id)
    assert listed(driver, queue) == bodies[1:]


def test_an_unknown_queue_is_an_empty_one(driver: OpenStackDriver, queue: QueueKey) -> None:
    assert listed(driver, queue) == []
    assert driver.messages.get(queue, ["x"]) == []
    assert driver.messages.first(queue, newest=True) is None
    assert driver.messages.pop(queue, limit=1) == []
    assert driver.messages.stats(queue).total == 0
    assert driver.claims.create(queue, ttl=60, grace=60, limit=1).id is None
    assert driver.claims.get(queue, "x") is None
    assert driver.claims.update(queue, "x", ttl=60, grace=60) is False


def test_seconds_are_rounded_up(driver: OpenStackDriver, queue: QueueKey) -> None:
    ids = post(driver, queue, 1, ttl=60.001)
    assert [message.ttl for message in driver.messages.get(queue, ids)] == [61]
    assert driver.claims.create(queue, ttl=59.2, grace=0.1, limit=1).ttl == 60


def test_who_posted_is_told_apart(driver: OpenStackDriver, queue: QueueKey) -> None:
    post(driver, queue, 1)
    assert listed(driver, queue, exclude_client="somebody") == []
    assert listed(driver, queue, exclude_client="somebody else") == [1]


def test_what_it_has_not_is_refused_before_anything_is_written(driver: OpenStackDriver, queue: QueueKey) -> None:
    def post_one(body: bytes, **headers: str) -> None:
        driver.messages.post(queue, [EncodedMessage(body, 60, headers=headers)], client_id="somebody")

    with pytest.raises(Unsupported, match="headers"):
        post_one(b"1", trace="t")
    with pytest.raises(InvalidBody, match="not JSON"):
        post_one(b"\x00 compressed")
    assert driver.messages.stats(queue).total == 0
    post(driver, queue, 1, 2)
    claim = driver.claims.create(queue, ttl=60, grace=60, limit=2)
    assert claim.id is not None
    with pytest.raises(Unsupported, match="some of the messages"):
        driver.claims.release(queue, claim.id, message_ids=[claim.messages[0].id])
    with pytest.raises(Unsupported, match="delay of 5 s"):
        driver.claims.release(queue, claim.id, delay=5)
    with pytest.raises(Unsupported, match="dead letters"):
        driver.claims.create(queue, ttl=60, grace=60, limit=1, max_claim_count=1)
    assert listed(driver, queue) == []


def test_a_write_that_fails_inside_has_an_unknown_outcome(driver: OpenStackDriver, queue: QueueKey) -> None:
    with pytest.raises(OutcomeUnknown, match=r"OverflowError.*may have happened in part") as raised:
        post(driver, queue, 2**70)
    assert isinstance(raised.value.__cause__, OverflowError)


def test_a_read_that_fails_inside_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="list: OpenStack Zaqar failed with TypeError: x") as raised, reading("list"):
        raise TypeError("x")
    assert not isinstance(raised.value, StorageUnavailable)


def test_it_claims_what_openstack_zaqar_claims(driver: OpenStackDriver) -> None:
    assert driver.health()["its_capabilities"] == ["FIFO", "CLAIMS", "AOD", "HIGH_THROUGHPUT"]
    assert driver.capabilities == {
        Capability.CLAIMS,
        Capability.DELAY,
        Capability.POP,
        Capability.MULTI_PROCESS,
        Capability.FIFO,
        Capability.EXCLUSIVE_CLAIMS,
        Capability.AT_LEAST_ONCE,
        Capability.HIGH_THROUGHPUT,
    }


@pytest.mark.parametrize(
    "uri",
    [
        OpenStackRedisTarget().unreachable_uri(),
        "openstack+swift://user:password@/demo?auth_url=http://127.0.0.1:1&management=127.0.0.1:1",
    ],
)
def test_a_server_that_is_not_there(uri: str) -> None:
    with pytest.raises(StorageUnavailable):
        connect(uri, timeout=1)


@pytest.mark.parametrize(
    ("uri", "error", "said"),
    [
        ("openstack+redis:///0", InvalidUri, "names no server"),
        ("openstack+redis://localhost/x", InvalidUri, "not the number"),
        ("openstack+redis://localhost?max_reconnect_attempts=0", InvalidOption, "below 1"),
        ("openstack+redis://localhost?retries=1", InvalidOption, "no option 'retries'"),
        ("openstack+swift://localhost/demo?auth_url=http://x&management=x", InvalidUri, "lacks user"),
        ("openstack+swift://u:p@/demo?auth_url=http://x&management=u:secret%40x", InvalidOption, "has an '@'"),
    ],
)
def test_wrong_uris(uri: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        settings_of(Uri.parse(uri), timeout=10)


def test_settings_are_those_of_openstack_zaqar() -> None:
    uri = Uri.parse("openstack+redis://u:p@one,two/3?master=main&socket_timeout=0.1&max_reconnect_attempts=2")
    settings = settings_of(uri, timeout=10)
    group = "drivers:message_store:redis"
    assert settings[group, "uri"] == "redis://u:p@one,two?socket_timeout=0.1&dbid=3&master=main"
    assert settings[group, "max_reconnect_attempts"] == 2
    assert settings["drivers", "management_store"] == "redis"
    assert "timeout=10.0" in settings_of(Uri.parse("openstack+redis://one"), timeout=10.0)[group, "uri"]
