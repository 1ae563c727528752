"""Logging in as every OpenStack client does: clouds.yaml, the environment, Keystone.

Keystone is a stand-in, which knows the requests of its API that are for a token; the Swift it points to is real.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import swiftclient.client as swift

from zaqar_conformance.servers import Server
from zaqar_core.errors import InvalidOption, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.server import HOST, KEY, USER, auth_url

OpenDriver = Callable[..., SwiftDriver]


class Keystone:
    """Gives out the tokens of a Swift's own authentication to who shows the right password or credential."""

    def __init__(self, port: int) -> None:
        self.asked: list[dict[str, Any]] = []
        keystone = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                identity = request["auth"]["identity"]
                keystone.asked.append(request["auth"])
                secret = (
                    identity["password"]["user"]["password"]
                    if "password" in identity
                    else identity["application_credential"]["secret"]
                )
                if secret != "right":
                    self.send_response(401)
                    self.end_headers()
                    return
                url, token = swift.get_auth(auth_url(port), USER, KEY)
                endpoints = [
                    {"id": region, "interface": "public", "region": region, "region_id": region, "url": where}
                    for region, where in (("here", url), ("there", "http://127.0.0.1:9/v1/AUTH_other"))
                ]
                answer = {
                    "token": {
                        "methods": ["password"],
                        "issued_at": "2026-01-01T00:00:00.000000Z",
                        "expires_at": "2126-01-01T00:00:00.000000Z",
                        "user": {"id": "u", "name": "worker", "domain": {"id": "default", "name": "Default"}},
                        "catalog": [{"id": "s", "name": "swift", "type": "object-store", "endpoints": endpoints}],
                    }
                }
                body = json.dumps(answer).encode()
                self.send_response(201)
                self.send_header("X-Subject-Token", token)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def keystone(server: Server) -> Iterator[Keystone]:
    one = Keystone(server.port)
    yield one
    one.stop()


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cloud of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


def opened(text: str) -> None:
    driver = SwiftDriver.open(Uri.parse(text), connect_timeout=20, timeout=20)
    driver.ping()
    driver.close()


def test_keystone_takes_a_password(keystone: Keystone) -> None:
    opened(f"swift+http://worker:right@{HOST}:{keystone.port}/v3?project=acme&region=here&user_domain=users")
    [auth] = keystone.asked
    assert auth["scope"]["project"] == {"name": "acme", "domain": {"name": "Default"}}
    assert auth["identity"]["password"]["user"]["domain"] == {"name": "users"}


def test_keystone_takes_an_application_credential(keystone: Keystone) -> None:
    opened(f"swift+http://id:right@{HOST}:{keystone.port}/v3?auth=application_credential&region=here")
    [auth] = keystone.asked
    assert auth["identity"]["application_credential"] == {"id": "id", "secret": "right"}


def test_a_wrong_password_and_a_wrong_region_are_told_apart(keystone: Keystone) -> None:
    where = f"{HOST}:{keystone.port}/v3?project=acme"
    with pytest.raises(StorageUnavailable, match="user and password") as caught:
        opened(f"swift+http://worker:hush@{where}")
    assert "hush" not in str(caught.value)
    with pytest.raises(StorageUnavailable, match="in nowhere region"):
        opened(f"swift+http://worker:right@{where}&region=nowhere")


def test_clouds_yaml_names_the_cloud(server: Server, tmp_path: Path) -> None:
    clouds = {"test": {"auth_type": "v1password", "auth": {"auth_url": auth_url(server.port)}}}
    clouds["test"]["auth"] |= {"username": USER, "password": KEY}  # type: ignore[operator]
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": clouds}))  # JSON is YAML
    opened("swift:///?cloud=test")
    with pytest.raises(InvalidOption, match="other"):
        opened("swift:///?cloud=other")


def test_the_environment_names_the_cloud(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AUTH_URL": f"http://{HOST}:{keystone.port}/v3",
        "USERNAME": "worker",
        "PASSWORD": "right",
        "PROJECT_NAME": "acme",
        "USER_DOMAIN_NAME": "Default",
        "PROJECT_DOMAIN_NAME": "Default",
        "REGION_NAME": "here",
        "IDENTITY_API_VERSION": "3",
    }.items():
        monkeypatch.setenv(f"OS_{name}", value)
    opened("swift:///")
    assert len(keystone.asked) == 1
