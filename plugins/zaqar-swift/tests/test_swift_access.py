"""Logging in by Swift's own authentication, with and without TLS. (``test_swift_keystone.py`` does so at Keystone.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zaqar_conformance.servers import Server
from zaqar_core.errors import InvalidOption
from zaqar_core.uri import Uri
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.server import KEY, USER, auth_url


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
