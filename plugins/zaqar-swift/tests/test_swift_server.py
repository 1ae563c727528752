"""The Swift of one's own: it is real, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import swiftclient.client as swift

from zaqar_conformance.servers import Server, accepts
from zaqar_swift.server import KEY, USER, auth_url
from zaqar_swift.target import control

StartServer = Callable[..., Server]


def listed(port: int) -> list[str]:
    url, token = swift.get_auth(auth_url(port), USER, KEY)
    return [row["name"] for row in swift.get_container(url, token, "c")[1]]


def put(port: int, name: str, **headers: str) -> None:
    url, token = swift.get_auth(auth_url(port), USER, KEY)
    swift.put_container(url, token, "c")
    swift.put_object(url, token, "c", name, b"data", headers={key.replace("_", "-"): v for key, v in headers.items()})


def test_it_ends_with_its_standard_input_and_takes_its_files_along(tmp_path: Path) -> None:
    """However whoever started it ends: a pipe breaks with the process that holds it."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "zaqar_swift.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(tmp_path), "PATH": ""},
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert "ST_USER=test:tester" in process.stdout.readline()
        port = int(process.stdout.readline().rpartition(":")[2].partition("/")[0])
        put(port, "one")
        assert listed(port) == ["one"]
        assert list(tmp_path.iterdir())
        process.stdin.close()
        assert process.wait(20) == 0
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError):
        accepts(port)


def test_what_was_stored_is_there_after_kill_and_restart(start_server: StartServer) -> None:
    server = start_server()
    put(server.port, "one")
    server.kill()
    server.start()
    assert listed(server.port) == ["one"]


def test_the_expirer_takes_what_has_expired_out_of_listings(start_server: StartServer) -> None:
    server = start_server()
    put(server.port, "brief", x_delete_after="1")
    put(server.port, "lasting")
    url, token = swift.get_auth(auth_url(server.port), USER, KEY)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            swift.head_object(url, token, "c", "brief")
        except swift.ClientException:
            break
    assert listed(server.port) == ["brief", "lasting"], "Swift lists what has expired until its expirer runs"
    control(server.port, "expire")
    assert listed(server.port) == ["lasting"]


def test_a_failed_replica_misses_what_is_written_until_updaters_run(start_server: StartServer) -> None:
    """Two of three replicas take the write; the third one's listing lacks it when it comes back."""
    server = start_server(replicas=3)
    put(server.port, "before")
    control(server.port, "fail/1")
    put(server.port, "meanwhile")
    control(server.port, "heal/1")
    seen = {tuple(listed(server.port)) for _ in range(60)}
    assert seen == {("before",), ("before", "meanwhile")}
    control(server.port, "update")
    assert {tuple(listed(server.port)) for _ in range(30)} == {("before", "meanwhile")}


def test_a_replica_that_missed_a_deletion_learns_of_it(start_server: StartServer) -> None:
    """What is deleted while a replica is away is there again for whoever asks that one, until replicators run."""
    server = start_server(replicas=3)
    put(server.port, "one")
    control(server.port, "fail/1")
    url, token = swift.get_auth(auth_url(server.port), USER, KEY)
    swift.delete_object(url, token, "c", "one")
    control(server.port, "heal/1")
    control(server.port, "update")
    for _ in range(30):
        with pytest.raises(swift.ClientException, match="404"):
            swift.head_object(url, token, "c", "one")
    assert {tuple(listed(server.port)) for _ in range(30)} == {()}


def test_a_spare_takes_the_place_of_a_replica_that_is_away(start_server: StartServer) -> None:
    """Listings show all that was written at once, though Swift may pass on to each one by a server that is away."""
    server = start_server("--away", "2", "--spares", "1", replicas=3)
    names = [f"{number:02}" for number in range(20)]
    for number, name in enumerate(names, 1):
        put(server.port, name)
        assert {tuple(listed(server.port)) for _ in range(5)} == {tuple(names[:number])}
