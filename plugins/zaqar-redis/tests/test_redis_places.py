"""Unix sockets, databases, TLS."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from zaqar_conformance.proxy import Cut, Proxy
from zaqar_conformance.servers import Server
from zaqar_core.contract import EncodedMessage, QueueKey
from zaqar_core.errors import InvalidUri, OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver


def opened(uri: str, *, timeout: float = 10, connect_timeout: float = 10, **options: object) -> RedisDriver:
    return RedisDriver.open(Uri.parse(uri, options), connect_timeout=connect_timeout, timeout=timeout)


def post(driver: RedisDriver, queue: QueueKey, count: int = 1) -> list[str]:
    return driver.messages.post(queue, [EncodedMessage(b"1", 600)] * count, client_id="c")


# --- one server -------------------------------------------------------------------------------------------


def test_a_unix_socket(start_server: Callable[..., Server], queue: QueueKey) -> None:
    with tempfile.TemporaryDirectory(prefix="zr-") as folder:  # pytest's are too long for a socket
        path = f"{folder}/a socket"
        start_server("--unixsocket", path)
        uri = f"redis+unix://{path.replace(' ', '%20')}"
        with closing(opened(uri)) as driver, closing(opened(uri, database=3)) as other:
            post(driver, queue)
            assert driver.messages.stats(queue).total == 1
            assert other.messages.stats(queue).total == 0
        with pytest.raises(StorageUnavailable, match="no socket"):
            opened(f"redis+unix://{folder}/no%20socket")


def test_databases_are_stores_of_their_own(server: Server, queue: QueueKey) -> None:
    uri = f"redis://127.0.0.1:{server.port}"
    with closing(opened(f"{uri}/0")) as one, closing(opened(f"{uri}/5")) as other:
        post(one, queue)
        post(other, queue, 2)
        assert (one.messages.stats(queue).total, other.messages.stats(queue).total) == (1, 2)
    with pytest.raises(StorageUnavailable, match=r"setting databases.*DB index"):
        opened(f"{uri}/16")


def test_tls(server: Server, queue: QueueKey, outside: ssl.SSLContext, ca_file: str) -> None:
    with Proxy(server.port, tls=outside) as proxy:
        uri = f"rediss://localhost:{proxy.port}/0"
        with closing(opened(uri, tls_ca=ca_file)) as driver:
            before = proxy.round_trips
            for count in range(1, 6):
                post(driver, queue)
                assert driver.messages.stats(queue).total == count
            assert proxy.round_trips - before <= 12  # two scripts that were not there before
            proxy.drop_all()
            post(driver, queue)
            proxy.cut(Cut.AFTER_REQUEST)
            with pytest.raises(OutcomeUnknown):
                post(driver, queue)
            assert driver.messages.stats(queue).total == 7
        with closing(opened(uri, tls_verify=False)) as driver:
            assert driver.messages.stats(queue).total == 7


def test_tls_is_refused_without_trust(server: Server, outside: ssl.SSLContext, ca_file: str) -> None:
    with Proxy(server.port, tls=outside) as proxy:
        with pytest.raises(StorageUnavailable, match=r"tls_ca.*CERTIFICATE_VERIFY_FAILED"):
            opened(f"rediss://localhost:{proxy.port}/0")
        with pytest.raises(StorageUnavailable, match=r"127\.0\.0\.1:\d+ shows a certificate"):
            opened(f"rediss://127.0.0.1:{proxy.port}/0", tls_ca=ca_file)
        with pytest.raises(StorageUnavailable):
            opened(f"redis://localhost:{proxy.port}/0", connect_timeout=1)


def test_a_client_certificate(
    server: Server, queue: QueueKey, authority: trustme.CA, outside: ssl.SSLContext, ca_file: str, tmp_path: Path
) -> None:
    outside.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(outside)
    mine = authority.issue_cert("client@example.org")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    files: dict[str, Any] = {
        "tls_ca": ca_file,
        "tls_cert": str(tmp_path / "cert.pem"),
        "tls_key": str(tmp_path / "key.pem"),
    }
    with Proxy(server.port, tls=outside) as proxy:
        with closing(opened(f"rediss://localhost:{proxy.port}/0", **files)) as driver:
            post(driver, queue)
        with pytest.raises(StorageUnavailable):
            opened(f"rediss://localhost:{proxy.port}/0", tls_ca=ca_file)


def test_one_server_is_no_cluster(server: Server) -> None:
    with pytest.raises(InvalidUri, match="redis://"):
        opened(f"redis+cluster://127.0.0.1:{server.port}", connect_timeout=1)
