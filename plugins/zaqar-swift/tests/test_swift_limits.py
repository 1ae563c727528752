"""What Swift refuses: rates and quotas by its own middleware, disks that are gone, servers whose clocks disagree."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import swiftclient.client as swift

from zaqar_conformance.servers import Server
from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import OutcomeUnknown, StorageFull, StorageUnavailable
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.server import KEY, USER, auth_url

OpenDriver = Callable[..., SwiftDriver]
StartServer = Callable[..., Server]
Post = Callable[..., list[str]]
Shown = Callable[[SwiftDriver], list[str]]

_RATE = """
[filter:ratelimit]
use = egg:swift#ratelimit
container_ratelimit_0 = {rate}
max_sleep_time_seconds = 0.02
rate_buffer_seconds = 0
"""
_QUOTAS = """
[filter:container-quotas]
use = egg:swift#container_quotas
"""


def written(folder: Path, text: str) -> str:
    path = folder / "filters.conf"
    path.write_text(text)
    return str(path)


def limited(start_server: StartServer, folder: Path, rate: int) -> Server:
    return start_server("--pipeline", "ratelimit tempauth", "--settings", written(folder, _RATE.format(rate=rate)))


def set_metadata(server: Server, driver: SwiftDriver, queue: QueueKey, **metadata: str) -> None:
    """Of the queue's container. Swift then looks again how large it is: it limits no rates in an empty one."""
    url, token = swift.get_auth(auth_url(server.port), USER, KEY)
    headers = {f"X-Container-Meta-{name.replace('_', '-')}": value for name, value in metadata.items()}
    swift.post_container(url, token, driver._queues.place(queue).container, headers)


def test_what_is_refused_for_its_rate_is_sent_again(
    start_server: StartServer, open_driver: OpenDriver, tmp_path: Path, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """Swift says 498 to most of them, at five writes a second; each message is there once."""
    server = limited(start_server, tmp_path, 5)
    driver = open_driver(server.port)
    post(driver)
    set_metadata(server, driver, queue, of="tests")
    begin = time.monotonic()
    ids = post(driver, 6)
    assert time.monotonic() - begin > 0.5, "it was not limited"
    assert shown(driver)[1:] == ids
    assert driver.messages.delete(queue, ids, claim_ids=None) == {}
    assert len(shown(driver)) == 1


def test_a_rate_that_leaves_no_time_says_how_much_was_done(
    start_server: StartServer, open_driver: OpenDriver, tmp_path: Path, queue: QueueKey, post: Post, shown: Shown
) -> None:
    server = limited(start_server, tmp_path, 2)
    patient = open_driver(server.port)
    ids = post(patient)
    set_metadata(server, patient, queue, of="tests")
    driver = open_driver(server.port, timeout=1.5)
    with pytest.raises(OutcomeUnknown, match="of 20 were done"):
        post(driver, 20)
    stored = shown(driver)
    assert 1 < len(stored) < 21
    with pytest.raises(OutcomeUnknown, match="were done"):
        driver.messages.delete(queue, [*stored, *ids], claim_ids=None)
    assert 0 < len(shown(driver)) < len(stored)


def test_a_full_account_takes_nothing_more_and_is_emptied_by_consuming(
    start_server: StartServer, open_driver: OpenDriver, tmp_path: Path, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """413, by the quota of a container; a claim writes too. What is there can be read and deleted."""
    quotas = written(tmp_path, _QUOTAS)
    server = start_server("--pipeline", "tempauth container-quotas", "--settings", quotas)
    driver = open_driver(server.port)
    ids = post(driver, 2)

    set_metadata(server, driver, queue, Quota_Count="0")
    with pytest.raises(StorageFull, match="make some"):
        post(driver, 2)
    with pytest.raises(StorageFull):
        driver.claims.create(queue, ttl=60, grace=0, limit=1)
    assert shown(driver) == ids
    assert driver.messages.delete(queue, ids[:1], claim_ids=None) == {}
    assert shown(driver) == ids[1:]
    set_metadata(server, driver, queue, Quota_Count="1000", Quota_Bytes="2000")
    with pytest.raises(OutcomeUnknown, match="1 of 2 were done"):
        driver.messages.post(
            queue, [EncodedMessage(b"1", 60.0), EncodedMessage(b'"' + b"x" * 5_000 + b'"', 60.0)], client_id="c"
        )
    assert len(shown(driver)) == 2


def test_a_disk_that_is_gone_ends_in_unknown_outcomes(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """Its servers say 507 to Swift's proxy, which says 503. What is on the disk is there when it is back."""
    server = start_server()
    driver = open_driver(server.port, timeout=3)
    ids = post(driver, 2)
    disk = server.folder / "replica-0" / "d0"
    disk.rename(disk.with_name("away"))
    with pytest.raises(OutcomeUnknown, match="503"):
        post(driver)
    with pytest.raises(OutcomeUnknown, match="503"):
        driver.records.insert(Space("queues", "p"), "key", b"1", nonce="n")
    for read in (lambda: shown(driver), lambda: driver.messages.delete(queue, ids, claim_ids=None)):
        with pytest.raises(StorageUnavailable, match="503"):
            read()
    disk.with_name("away").rename(disk)
    assert shown(driver) == ids
    assert shown(driver) + post(driver) == shown(driver)


def set_timestamp(server: Server, ahead: float) -> None:
    """The newest object, as if another server with a clock that is ahead had written it."""
    objects = (server.folder / "replica-0" / "d0" / "objects").rglob("*.data")
    path = max(objects, key=lambda each: each.name)
    metadata = pickle.loads(os.getxattr(path, "user.swift.metadata"))
    metadata["X-Timestamp"] = f"{time.time() + ahead:016.5f}"
    os.setxattr(path, "user.swift.metadata", pickle.dumps(metadata, protocol=2))
    os.removexattr(path, "user.swift.metadata_checksum")
    path.rename(path.with_name(f"{metadata['X-Timestamp']}.data"))


def test_a_server_whose_clock_is_ahead_costs_time_and_no_write(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """Swift says 202 to a write that is older than what is there, and drops it; 409 to such a deletion."""
    server = start_server()
    driver = open_driver(server.port)
    space = Space("queues", "p")
    version = driver.records.insert(space, "key", b"1", nonce="n")
    assert version is not None
    set_timestamp(server, ahead=1.5)
    assert driver.records.replace(space, "key", b"2", version=version, nonce="n") is not None
    record = driver.records.get(space, "key")
    assert record is not None
    assert record.value == b"2"
    ids = post(driver)
    set_timestamp(server, ahead=1.5)
    assert driver.messages.delete(queue, ids, claim_ids=None) == {}
    assert driver.messages.get(queue, ids) == []
    version = driver.records.replace(space, "key", b"3", version=record.version, nonce="n")
    assert version is not None
    set_timestamp(server, ahead=60)
    hasty = open_driver(server.port, timeout=1)
    with pytest.raises(StorageUnavailable, match="synchronize their clocks"):
        hasty.records.replace(space, "key", b"4", version=version, nonce="n")
