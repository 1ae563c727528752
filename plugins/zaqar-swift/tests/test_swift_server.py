"""The Swift of one's own: it is real, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import swiftclient.client as swift

from zaqar_conformance.servers import Server, accepts
from zaqar_swift.server import KEY, REMEDY, USER, auth_url
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
    """However the process that started it ends: a pipe breaks with the process that holds it."""
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


def run(*arguments: str, program: Sequence[str] = ("-m", "zaqar_swift.server"), **options: Any) -> tuple[int, str]:
    """How the command ends, which does not serve; its status, and all that it says."""
    command = [sys.executable, "-W", "ignore", *program, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **options)
    return done.returncode, done.stdout + done.stderr


def test_it_ends_at_once_where_standard_input_has_ended_already(tmp_path: Path) -> None:
    """As in the background of a script; or where it is a file, which no poll takes."""
    (tmp_path / "file").write_text("text")
    for path in (Path(os.devnull), tmp_path / "file"):
        with path.open() as file:
            status, said = run("--folder", str(tmp_path / "swift"), stdin=file)
        assert status == 0, said
        assert "Traceback" not in said
        assert "ST_USER=test:tester" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_it_without_a_trace(tmp_path: Path, number: int) -> None:
    """SIGHUP: its terminal was closed."""
    # Programs in the background ignore SIGINT, and hand that on.
    program = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv.append('--forever'); runpy.run_module('zaqar_swift.server', run_name='__main__')"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(tmp_path), "PATH": ""},
    ) as process:
        assert process.stdout is not None
        assert "ST_USER" in process.stdout.readline()
        assert list(tmp_path.iterdir())
        process.send_signal(number)
        assert process.wait(20) == 0
    assert not list(tmp_path.iterdir())


def test_killed_it_leaves_nothing_but_the_folder_that_was_named(tmp_path: Path) -> None:
    own, named = tmp_path / "own", tmp_path / "named"
    own.mkdir()
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "zaqar_swift.server", "--forever", "--folder", str(named)],
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(own), "PATH": ""},
    ) as process:
        assert process.stdout is not None
        assert "ST_USER" in process.stdout.readline()
        process.kill()
    assert not list(own.iterdir())
    assert list(named.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "65536"], "--port 65536 is outside 0 to 65535"),
        (["--away", "0", "7"], "--away 7 is not one of the 3 servers, which count from 0"),
        (["--tls", "/no/such/file"], "--tls /no/such/file is not a PEM file with a key and certificates"),
        (["--settings", "/no/such/file"], "--settings /no/such/file is not a file"),
    ],
)
def test_wrong_arguments_are_told_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    status, output = run("--replicas", "3", "--folder", str(tmp_path / "swift"), *arguments)
    assert status == 2
    assert said in output
    assert "Traceback" not in output
    assert not (tmp_path / "swift").exists()


def test_a_port_in_use_is_said(server: Server, tmp_path: Path) -> None:
    status, output = run("--port", str(server.port), "--folder", str(tmp_path))
    assert status == 2
    assert f"--port {server.port}: Address already in use; choose another" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("missing", ["eventlet", "swift"])
def test_without_its_programs_it_says_what_to_install(missing: str) -> None:
    text = f"""
import runpy, sys
sys.modules[{missing!r}] = None
runpy.run_module("zaqar_swift.server", run_name="__main__", alter_sys=True)
"""
    status, output = run(program=("-c", text))
    assert status == 1
    assert output.splitlines() == [REMEDY]


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
    """What is deleted while a replica is away is there again in that one's listings, until replicators run."""
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
