"""Logging in at a real Keystone, whose tokens a real Swift has checked by it: ``nox -s keystone`` installs and runs it.

Two Keystones share one database: the tokens of the second live for seconds.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import openstack
import pytest

import zaqar_core
from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import Server, free_port
from zaqar_core import NewMessage
from zaqar_core.errors import StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.options import login_of, options_of
from zaqar_swift.server import HOST
from zaqar_swift.target import swift_server

PASSWORD: Final = "right-4f1c0a52"
LIFE: Final = 6
"""Seconds for which the second Keystone's tokens are good: Swift asks Keystone of each, again and again."""

_CONFIGURATION: Final = """[DEFAULT]
log_file = {folder}/keystone-{life}.log
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/fernet-keys
[fernet_receipts]
key_repository = {folder}/fernet-keys
[credential]
key_repository = {folder}/credential-keys
[token]
expiration = {life}
[identity]
password_hash_rounds = 4
"""

_SERVE: Final = """
import sys
from werkzeug.serving import run_simple
port = int(sys.argv.pop())
from keystone.wsgi.api import application
run_simple("127.0.0.1", port, application, threaded=True)
"""

_SWIFT: Final = """
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
auth_type = password
auth_url = http://{host}:{port}/v3
username = admin
password = {password}
project_name = admin
user_domain_name = Default
project_domain_name = Default
token_cache_time = 1
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = member
"""


@dataclass
class Cloud:
    """A cloud with the project ``acme`` and its user ``worker``. Swift is in the region ``here``, and not ``there``."""

    port: int
    """Of the Keystone whose tokens live long."""
    brief: int
    """Of the other one."""
    admin: Any
    """A connection of openstacksdk's that may do all."""
    worker: Any
    """One of the user's own."""
    secrets: list[str] = field(default_factory=lambda: [PASSWORD])

    def credential(self) -> Any:
        made = self.worker.identity.create_application_credential(self.worker.current_user_id, f"for-{time.time_ns()}")
        self.secrets.append(made.secret)
        return made

    def revoke(self, credential: Any) -> None:
        self.worker.identity.delete_application_credential(self.worker.current_user_id, credential)


def password_uri(port: int, *, password: str = PASSWORD, region: str = "here", **options: object) -> str:
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return f"swift+http://worker:{password}@{HOST}:{port}/v3?project=acme&region={region}{more}"


def credential_uri(port: int, credential: Any, secret: str = "") -> str:
    where = f"{HOST}:{port}/v3?auth=application_credential&region=here"
    return f"swift+http://{credential.id}:{secret or credential.secret}@{where}"


def opened(text: str, *, timeout: float = 20) -> SwiftDriver:
    return SwiftDriver.open(Uri.parse(text), connect_timeout=20, timeout=timeout)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("keystone")
    with ExitStack() as stack:
        port, brief = free_port(), free_port()
        own = pwd.getpwuid(os.getuid()).pw_name
        (folder / "fernet-keys").mkdir(mode=0o700)
        where = [f"--bootstrap-{which}-url=http://{HOST}:{port}/v3" for which in ("public", "internal", "admin")]
        configuration = configured(folder, life=3600)
        for command in (
            ("db_sync",),
            ("fernet_setup", f"--keystone-user={own}", f"--keystone-group={own}"),
            ("bootstrap", f"--bootstrap-password={PASSWORD}", "--bootstrap-region-id=here", *where),
        ):
            program = [str(Path(sys.executable).with_name("keystone-manage")), "--config-file", str(configuration)]
            subprocess.run([*program, *command], check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
        for which, life in ((port, 3600), (brief, LIFE)):
            one = keystone_server(configured(folder, life=life))
            one.port = which
            stack.callback(one.kill)
            one.start()
        settings = folder / "proxy.conf"
        settings.write_text(_SWIFT.format(host=HOST, port=port, password=PASSWORD))
        swift = swift_server(
            tmp_path_factory.mktemp("swift"), "--pipeline", "authtoken keystoneauth", "--settings", str(settings)
        )
        stack.callback(swift.kill)
        swift.start()
        admin = stack.enter_context(connected(port, "admin", "admin"))
        fill(admin, swift.port)
        yield Cloud(port, brief, admin, stack.enter_context(connected(port, "acme", "worker")))


def configured(folder: Path, *, life: int) -> Path:
    path = folder / f"life-{life}" / "keystone.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text(_CONFIGURATION.format(folder=folder, life=life))
    return path


def keystone_server(configuration: Path) -> Server:
    def command(port: int) -> list[str]:
        # "env": a server gets no environment of its own from what starts it
        there = f"OS_KEYSTONE_CONFIG_FILES={configuration}"
        return ["/usr/bin/env", there, sys.executable, "-W", "ignore", "-c", _SERVE, str(port)]

    def answers(port: int) -> bool:
        with urllib.request.urlopen(f"http://{HOST}:{port}/v3", timeout=2) as reply:
            return bool(reply.status == 200)

    return Server(command, configuration.parent, answers)


def connected(port: int, project: str, user: str) -> Any:
    return openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        region_name="here",
        auth={
            "auth_url": f"http://{HOST}:{port}/v3",
            "username": user,
            "password": PASSWORD,
            "project_name": project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
    )


def fill(admin: Any, swift_port: int) -> None:
    """The project, its user, and where Swift is."""
    identity = admin.identity
    project = identity.create_project(name="acme", domain_id="default")
    user = identity.create_user(name="worker", domain_id="default", password=PASSWORD)
    identity.assign_project_role_to_user(project, user, identity.find_role("member"))
    service = identity.create_service(name="swift", type="object-store")
    identity.create_region(id="there")
    for region, port in (("here", swift_port), ("there", free_port())):
        url = f"http://{HOST}:{port}/v1/AUTH_$(project_id)s"
        identity.create_endpoint(service_id=service.id, interface="public", region_id=region, url=url)


@pytest.fixture(autouse=True)
def _no_cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the clouds of the user who runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in [*(each for each in os.environ if each.startswith("OS_")), "HOME", "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def used(text: str) -> None:
    """Post a message there, and consume it."""
    with zaqar_core.connect(text, project="acme", timeout=20) as storage:
        [some_id] = storage.messages.post("orders", [NewMessage(1)])
        assert storage.messages.get("orders", some_id).body == 1
        storage.messages.delete("orders", some_id)


def test_a_password_is_taken(cloud: Cloud) -> None:
    used(password_uri(cloud.port))


def test_an_application_credential_is_taken(cloud: Cloud) -> None:
    used(credential_uri(cloud.port, cloud.credential()))


def test_the_environment_says_how_to_log_in(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AUTH_URL": f"http://{HOST}:{cloud.port}/v3",
        "USERNAME": "worker",
        "PASSWORD": PASSWORD,
        "PROJECT_NAME": "acme",
        "USER_DOMAIN_NAME": "Default",
        "PROJECT_DOMAIN_NAME": "Default",
        "REGION_NAME": "here",
    }.items():
        monkeypatch.setenv(f"OS_{name}", value)
    used("swift:///")


def test_an_environment_without_a_password_is_told_so(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_AUTH_URL", f"http://{HOST}:{cloud.port}/v3")
    with pytest.raises(StorageUnavailable, match="lacks what is needed to log in"):
        opened("swift:///")


@pytest.mark.parametrize("auth_type", ["password", "v3applicationcredential"])
def test_clouds_yaml_says_how_to_log_in(
    cloud: Cloud, tmp_path: Path, auth_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {"auth_url": f"http://{HOST}:{cloud.port}/v3"}
    if auth_type == "password":
        auth |= {"username": "worker", "password": PASSWORD, "project_name": "acme"}
        auth |= {"user_domain_name": "Default", "project_domain_name": "Default"}
    else:
        credential = cloud.credential()
        auth |= {"application_credential_id": credential.id, "application_credential_secret": credential.secret}
    clouds = {"acme": {"auth_type": auth_type, "auth": auth, "region_name": "here"}}
    path = tmp_path / "clouds.yaml"
    path.write_text(json.dumps({"clouds": clouds}))  # JSON is YAML
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    used("swift:///?cloud=acme")


def test_the_region_says_which_swift(cloud: Cloud) -> None:
    with pytest.raises(StorageUnavailable, match="region and interface"):
        opened(password_uri(cloud.port, region="nowhere"))
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        opened(password_uri(cloud.port, region="there"))
    with pytest.raises(StorageUnavailable, match="region and interface"):
        opened(password_uri(cloud.port, interface="internal"))


def test_tokens_that_expire_in_mid_operation_lose_and_double_nothing(cloud: Cloud) -> None:
    """Threads post, claim and delete while their tokens end several times: no call fails, each message comes once."""
    driver_uri = password_uri(cloud.brief, prefix="brief", connections=4)
    until = time.monotonic() + 3 * LIFE
    posted: list[list[int]] = [[], [], []]
    got: list[int] = []
    tokens = set()
    failed: list[BaseException] = []
    with zaqar_core.connect(driver_uri, project="acme", timeout=30) as storage:
        driver: Any = storage.driver

        def produce(number: int) -> None:
            try:
                while time.monotonic() < until:
                    body = number + len(posted) * len(posted[number])
                    storage.messages.post("orders", [NewMessage(body)])
                    posted[number].append(body)
                    tokens.add(driver._store._access.grant(driver._store.deadline()).token)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=produce, args=(number,)) for number in range(len(posted))]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or storage.messages.stats("orders").total:
            claim = storage.claims.create("orders", ttl=60, grace=60, limit=20)
            if claim.id is not None:
                ids = [message.id for message in claim.messages]
                assert storage.messages.bulk_delete("orders", ids, claim_ids=[claim.id]) == []
                got += [message.body for message in claim.messages]
        for thread in threads:
            thread.join()
    assert failed == []
    assert sorted(got) == sorted(body for each in posted for body in each)
    assert len(tokens) >= 3


def test_a_revoked_application_credential_is_said_and_nothing_is_done(cloud: Cloud) -> None:
    credential = cloud.credential()
    with zaqar_core.connect(credential_uri(cloud.port, credential), project="revoked", timeout=20) as storage:
        storage.messages.post("orders", [NewMessage(1)])
        cloud.revoke(credential)
        deadline = time.monotonic() + 20
        seen: BaseException | None = None
        while seen is None and time.monotonic() < deadline:
            try:
                storage.messages.stats("orders")
            except StorageUnavailable as error:
                seen = error
        assert type(seen) is StorageUnavailable
        assert "knows no such application credential" in str(seen)
        with pytest.raises(StorageUnavailable, match="knows no such application credential"):
            storage.messages.post("orders", [NewMessage(2)])
    with zaqar_core.connect(password_uri(cloud.port), project="revoked", timeout=20) as storage:
        assert [message.body for message in storage.messages.list("orders").items] == [1]
    with pytest.raises(StorageUnavailable, match="knows no such application credential"):
        opened(credential_uri(cloud.port, credential))


def test_wrong_secrets_are_said(cloud: Cloud) -> None:
    for text in (
        password_uri(cloud.port, password="hush-9b1d"),
        credential_uri(cloud.port, cloud.credential(), secret="hush-9b1d"),
    ):
        with pytest.raises(StorageUnavailable, match="does not take this user and password") as caught:
            opened(text)
        assert "hush-9b1d" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_many_threads_whose_token_was_revoked_log_in_once(cloud: Cloud) -> None:
    """Counted at a proxy that Keystone is asked through."""
    with Proxy(cloud.port) as proxy:
        driver = opened(password_uri(proxy.port))
        token = driver._store._access.grant(driver._store.deadline()).token
        at_first = proxy.round_trips
        cloud.worker.identity.delete("/auth/tokens", headers={"X-Subject-Token": token})
        time.sleep(2.0)  # Swift remembers for a second that the token was good
        gate = threading.Barrier(8)
        failed: list[BaseException] = []

        def work() -> None:
            gate.wait()
            try:
                driver.ping()
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(gate.parties)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert proxy.round_trips - at_first == 1
        driver.close()


def test_no_log_repr_or_error_shows_a_secret_or_a_token(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, and of all libraries on the way."""
    texts = password_uri(cloud.brief), credential_uri(cloud.brief, cloud.credential())
    tokens = []
    shown = []
    with caplog.at_level(logging.DEBUG):
        for text in texts:
            driver = opened(text)
            access: Any = driver._store._access
            tokens.append(access.grant(driver._store.deadline()).token)
            time.sleep(LIFE + 0.5)
            driver.ping()
            grant = access.grant(driver._store.deadline())
            tokens.append(grant.token)
            shown += [repr(each) for each in (driver, driver._store, access, grant)]
            driver.close()
        for text in (password_uri(cloud.port, password="hush-9b1d"), password_uri(cloud.port, region="nowhere")):
            shown.append(repr(login_of(Uri.parse(text), options_of(Uri.parse(text)))))
            with pytest.raises(StorageUnavailable) as caught:
                opened(text)
            shown.append(f"{caught.value!r}{caught.value.__cause__!r}")
    assert len(set(tokens)) == 4
    logged = "\n".join(f"{record.name} {record.getMessage()}" for record in caplog.records)
    assert {"keystoneauth.session", "urllib3.connectionpool"} <= {each.name for each in caplog.records}
    for secret in (*tokens, *cloud.secrets, "hush-9b1d"):
        assert secret not in logged
        assert secret not in "".join(shown)
