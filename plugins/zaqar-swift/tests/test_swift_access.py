"""Logging in by Swift's own authentication, with and without TLS. (``test_swift_keystone.py`` does so at Keystone.)"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import swiftclient.client as swift
import trustme

from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import Server, free_port
from zaqar_core.contract import QueueKey, Space, new_id
from zaqar_core.errors import InvalidOption, OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_swift.access import Grant
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.options import login_of, options_of
from zaqar_swift.server import HOST, KEY, USER, auth_url, uri

OpenDriver = Callable[..., SwiftDriver]
StartServer = Callable[..., Server]
Post = Callable[..., list[str]]
Shown = Callable[[SwiftDriver], list[str]]


@pytest.fixture(autouse=True)
def _no_cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the clouds of the user who runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


def opened(text: str) -> None:
    driver = SwiftDriver.open(Uri.parse(text), connect_timeout=20, timeout=20)
    driver.ping()
    driver.close()


def test_clouds_yaml_names_the_cloud(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = {"auth_url": auth_url(server.port), "username": USER, "password": KEY}
    path = tmp_path / "clouds.yaml"
    path.write_text(json.dumps({"clouds": {"test": {"auth_type": "v1password", "auth": auth}}}))  # JSON is YAML
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    opened("swift:///?cloud=test")
    with pytest.raises(InvalidOption, match="other"):
        opened("swift:///?cloud=other")


def test_the_environment_names_the_cloud(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_AUTH_TYPE", "v1password")
    for name, value in {"AUTH_URL": auth_url(server.port), "USERNAME": USER, "PASSWORD": KEY}.items():
        monkeypatch.setenv(f"OS_{name}", value)
    opened("swift:///")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"USERNAME": "worker"}, "auth_url"),
        ({"AUTH_TYPE": "nonsense"}, "The plugin nonsense could not be found"),
        ({"AUTH_URL": "http://127.0.0.1:1", "AUTH_TYPE": "v3applicationcredential"}, "application credential ID"),
        ({"CLIENT_CONFIG_FILE": "broken.yaml"}, "AttributeError"),
        (
            {"AUTH_URL": "http://127.0.0.1:1", "CACERT": "/no/such/file"},
            "OS_CACERT.*'/no/such/file' is not a file of cert",
        ),
    ],
)
def test_an_environment_that_says_too_little_or_wrong_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    """Each of them is the option's fault: keystoneauth has errors of its own for some, openstacksdk none for others."""
    (tmp_path / "broken.yaml").write_text("clouds: [hush-9b1d]")
    for name in [each for each in os.environ if each.startswith("OS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(f"OS_{name}", value)
    with pytest.raises(InvalidOption, match=said) as caught:
        opened("swift:///")
    assert "hush-9b1d" not in str(caught.value)


def test_a_keystone_that_cannot_be_reached_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a user or password too, for which keystoneauth has a bare ``Exception`` instead."""
    for name in [each for each in os.environ if each.startswith("OS_")]:
        monkeypatch.delenv(name)
    for url in (f"http://{HOST}:{free_port()}", f"http://{HOST}:{free_port()}/v3"):
        monkeypatch.setenv("OS_AUTH_URL", url)
        with pytest.raises(StorageUnavailable, match="cannot be reached to log in"):
            opened("swift:///")


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def start_tls(authority: trustme.CA, tmp_path: Path, start_server: StartServer) -> Callable[[str], Server]:
    """Starts a Swift that speaks TLS, with a certificate for that host."""

    def start(host: str) -> Server:
        path = tmp_path / "server.pem"
        authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(str(path))
        return start_server("--tls", str(path))

    return start


def test_tls_is_spoken_with_who_shows_a_trusted_certificate(start_tls: Callable[[str], Server], trusted: Path) -> None:
    where = uri(start_tls(HOST).port, tls=True)
    opened(f"{where}?tls_ca={trusted}")
    with pytest.raises(StorageUnavailable, match="not trusted; set tls_ca") as caught:
        opened(where)
    assert KEY not in str(caught.value)


def test_another_authority_is_not_trusted(start_tls: Callable[[str], Server], tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(StorageUnavailable, match="not trusted; set tls_ca"):
        opened(f"{uri(start_tls(HOST).port, tls=True)}?tls_ca={other}")


def test_a_file_without_certificates_is_said(start_tls: Callable[[str], Server], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    with pytest.raises(InvalidOption, match="PEM file"):
        opened(f"{uri(start_tls(HOST).port, tls=True)}?tls_ca={wrong}")


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_for_another_host_is_refused_unless_told(
    start_tls: Callable[[str], Server], trusted: Path
) -> None:
    where = uri(start_tls("swift.example.com").port, tls=True)
    with pytest.raises(StorageUnavailable, match="another host's; write the host name"):
        opened(f"{where}?tls_ca={trusted}")
    opened(f"{where}?tls_verify=false")
    opened(f"{where}?tls_verify=false&tls_ca={trusted}")


def test_who_speaks_no_tls_is_told_from_who_does(
    server: Server, start_tls: Callable[[str], Server], trusted: Path
) -> None:
    with pytest.raises(StorageUnavailable, match=r"swift\+http"):
        opened(uri(server.port, tls=True))
    with pytest.raises(StorageUnavailable, match="whether it speaks TLS"):
        opened(uri(start_tls(HOST).port))


def test_a_post_whose_connection_breaks_under_tls_may_have_been_done(
    start_tls: Callable[[str], Server], trusted: Path, open_driver: OpenDriver, post: Post
) -> None:
    server = start_tls(HOST)
    with Proxy(server.port) as proxy:
        text = f"{uri(proxy.port, tls=True)}?tls_ca={trusted}"
        driver = SwiftDriver.open(Uri.parse(text), connect_timeout=20, timeout=20)
        post(driver)
        server.pause()
        begun = proxy.round_trips
        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(post, driver)
            while proxy.round_trips == begun:
                time.sleep(0.01)
            proxy.drop_all()
            assert type(outcome.exception()) is OutcomeUnknown
        server.resume()
        driver.close()


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_tokens_are_renewed_in_mid_operation_under_threads(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """Threads post and delete over several lives of a token: no call fails, and each does what it says."""
    driver = open_driver(start_server("--token-life", "2").port)
    tokens: set[str] = set()
    until = time.monotonic() + 7

    def work() -> list[str]:
        kept = []
        while time.monotonic() < until:
            ids = post(driver, 2)
            assert driver.messages.delete(queue, ids[:1], claim_ids=None) == {}
            kept.append(ids[1])
            tokens.add(driver._store._access.grant(driver._store.deadline()).token)
        return kept

    with ThreadPoolExecutor(4) as pool:
        kept = [some_id for each in [pool.submit(work) for _ in range(4)] for some_id in each.result()]
    assert len(tokens) >= 3
    found = []
    for start in range(0, len(kept), 100):
        found += [message.id for message in driver.messages.get(queue, kept[start : start + 100])]
    assert found == kept
    assert driver.messages.stats(queue).total == len(kept)


def test_many_threads_whose_token_ended_log_in_once(
    start_server: StartServer, open_driver: OpenDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = open_driver(start_server("--token-life", "3").port)
    access = driver._store._access
    ended = access.grant(driver._store.deadline())
    log_in, logins = access._log_in, []

    def counted(deadline: float) -> Grant:
        logins.append(deadline)
        return log_in(deadline)

    monkeypatch.setattr(access, "_log_in", counted)
    time.sleep(4.1)  # by the server's clock of whole seconds
    gate = threading.Barrier(8)

    def ping() -> None:
        gate.wait()
        driver.ping()

    with ThreadPoolExecutor(gate.parties) as pool:
        for each in [pool.submit(ping) for _ in range(gate.parties)]:
            each.result()
    access.refused(ended, driver._store.deadline())  # as one whose answer comes last says
    driver.ping()
    assert len(logins) == 1


def test_waiting_for_another_threads_login_ends_in_time(open_driver: OpenDriver) -> None:
    """It may wait for longer itself, as one that began later."""
    driver = open_driver(timeout=0.5)
    access = driver._store._access
    access.refused(access.grant(driver._store.deadline()), driver._store.deadline())
    begin = time.monotonic()
    turn = access._login.take(begin)
    try:
        with ThreadPoolExecutor(1) as pool, pytest.raises(StorageUnavailable, match="the login at"):
            pool.submit(driver.ping).result()
    finally:
        turn.give_back()
    assert time.monotonic() - begin < 2


def test_who_is_refused_while_another_thread_logs_in_ends_in_time(open_driver: OpenDriver) -> None:
    driver = open_driver(timeout=0.5)
    access = driver._store._access
    grant = access.grant(driver._store.deadline())
    access._grant = grant._replace(token="ended")
    begin = time.monotonic()
    turn = access._login.take(begin)  # who has a token does not ask for a turn, but who gives it back does
    try:
        with ThreadPoolExecutor(1) as pool:
            error = pool.submit(driver.ping).exception(10)
    finally:
        turn.give_back()
    assert time.monotonic() - begin < 2
    assert isinstance(error, StorageUnavailable)


def test_no_log_shows_messages_at_any_level(
    open_driver: OpenDriver, server: Server, queue: QueueKey, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    """swiftclient logs whole requests at DEBUG, and at INFO those that are refused: as a first post is, once."""
    driver = open_driver(prefix=f"unlogged-{new_id()}")
    with caplog.at_level(logging.DEBUG):
        ids = post(driver, 3, body=b'"hush-9b1d"')
        claim = driver.claims.create(queue, ttl=60, grace=0, limit=1)
        assert driver.messages.delete(queue, ids[:1], claim_ids=[claim.id or ""]) == {}
        driver.messages.get(queue, ids)
        driver.records.insert(Space("queues", queue.project), "key", b'"hush-9b1d"', nonce="n")
        assert "swiftclient" not in {record.name for record in caplog.records}
        assert "hush-9b1d" not in "\n".join(record.getMessage() for record in caplog.records)
        swift.head_account(*swift.get_auth(auth_url(server.port), USER, KEY))
        assert "swiftclient" in {record.name for record in caplog.records}, "others' requests are logged as ever"


def test_no_log_repr_or_error_shows_the_password_or_a_token(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, and of all libraries on the way."""
    with caplog.at_level(logging.DEBUG):
        driver = SwiftDriver.open(Uri.parse(uri(server.port)), connect_timeout=20, timeout=20)
        grant = driver._store._access.grant(driver._store.deadline())
        driver.close()
        with pytest.raises(StorageUnavailable) as caught:
            opened(uri(server.port).replace(KEY, "hush-9b1d"))
    login = login_of(Uri.parse(uri(server.port)), options_of(Uri.parse(uri(server.port))))
    assert {"keystoneauth.session", "urllib3.connectionpool"} <= {record.name for record in caplog.records}
    text = "\n".join(record.getMessage() for record in caplog.records)
    text += f"{grant!r}{grant}{login!r}{driver._store._access!r}{caught.value!r}{caught.value.__cause__!r}"
    for secret in (grant.token, f"{KEY!r}", f":{KEY}@", "hush-9b1d"):
        assert secret not in text
