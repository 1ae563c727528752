"""Processes of servers: started, killed, paused, started again on their port, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from zaqar_conformance import servers, watchdog
from zaqar_conformance.servers import Server, ServerError, accepts, free_port

ECHO = """
import socketserver, sys

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

open("started", "a").write("x")
Server(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""


def echo_command(port: int) -> Sequence[str]:
    return [sys.executable, "-S", "-c", ECHO, str(port)]


def ask(port: int, timeout: float = 5) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        client.settimeout(timeout)
        client.sendall(b"hello\n")
        return client.recv(100)


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def make_one(command: Callable[[int], Sequence[str]] = echo_command) -> Server:
            server = Server(command, tmp_path / "server", accepts)
            stack.callback(server.kill)
            return server

        yield make_one


def test_is_there_once_started_in_its_folder(make: Callable[..., Server]) -> None:
    server = make()
    assert server.pid is None
    server.start()
    assert ask(server.port) == b"hello\n"
    assert (server.folder / "started").exists()
    pid = server.pid
    server.start()
    assert server.pid == pid


def test_comes_back_on_its_port_after_a_kill_and_a_stop(make: Callable[..., Server]) -> None:
    server = make()
    server.start()
    port, first = server.port, server.pid
    assert first is not None
    server.kill()
    assert not is_alive(first)
    assert server.pid is None
    server.restart()
    second = server.pid
    assert (server.port, ask(port)) == (port, b"hello\n")
    server.restart()
    assert len({first, second, server.pid}) == 3
    server.stop()
    server.stop()
    assert server.pid is None


def test_a_paused_server_answers_nobody_until_resumed(make: Callable[..., Server]) -> None:
    server = make()
    server.start()
    server.pause()
    with pytest.raises(TimeoutError):
        ask(server.port, timeout=0.2)
    server.resume()
    assert ask(server.port) == b"hello\n"


def test_a_paused_server_can_be_stopped_and_killed(make: Callable[..., Server]) -> None:
    for end in (Server.stop, Server.kill):
        server = make()
        server.start()
        server.pause()
        end(server)
        assert server.pid is None


FORKING = f"""
import os
import signal

if os.fork() == 0:
    os.setsid()  # as PostgreSQL's do: no signal to the parent's group reaches it
    exec({ECHO!r})
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # it is ignored where this test runs in the background of a shell
signal.pause()
"""


def test_what_a_server_started_itself_is_paused_and_killed_with_it(tmp_path: Path) -> None:
    server = Server(lambda port: [sys.executable, "-c", FORKING, str(port)], tmp_path, accepts)
    server.start()
    try:
        parent, child = server.pids
        assert parent == server.pid
        server.pause()
        with pytest.raises(TimeoutError):
            ask(server.port, timeout=0.2)
        server.resume()
        assert ask(server.port) == b"hello\n"
        server.kill()
        assert not is_alive(child)
        assert server.pids == []
        server.restart()
        assert ask(server.port) == b"hello\n"
    finally:
        server.kill()


def test_a_server_may_need_another_signal_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", FORKING]
    server = Server(lambda port: [*command, str(port)], tmp_path, accepts, stop_signal=signal.SIGINT)
    server.start()
    monkeypatch.setattr(servers, "STOP_LIMIT", 3600)
    _, child = server.pids
    server.stop()  # by SIGTERM it would never end
    assert server.pid is None
    assert not is_alive(child)  # which it left behind


def test_a_server_that_ends_at_once_shows_its_log(make: Callable[..., Server]) -> None:
    server = make(lambda port: [sys.executable, "-c", "raise SystemExit('no such setting')"])
    with pytest.raises(ServerError, match="no such setting"):
        server.start()
    assert server.pid is None


def test_a_server_that_never_answers_is_given_up(make: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "START_LIMIT", 0.3)
    server = make(lambda port: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(ServerError, match="did not answer"):
        server.start()
    assert server.pid is None


def test_a_port_that_is_taken_meanwhile_is_given_up_for_another(
    make: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = [other.getsockname()[1], free_port()]
        monkeypatch.setattr(servers, "free_port", lambda _: ports.pop(0))
        monkeypatch.setattr(servers, "accepts", lambda port: False)
        server = make(echo_command)
        # What listens there answers as well, so it is the process's end that tells.
        server._answers = lambda port: port != other.getsockname()[1] and accepts(port)
        server.start()
        assert server.port != other.getsockname()[1]
        assert ask(server.port) == b"hello\n"


def test_a_port_may_have_to_be_low() -> None:
    assert max(free_port(45_000) for _ in range(20)) <= 45_000


OWNER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_servers import FORKING, Server, accepts

if __name__ == "__main__":
    server = Server(lambda port: [sys.executable, "-c", FORKING, str(port)], Path(sys.argv[2]), accepts)
    server.start()
    if sys.argv[3] == "paused":
        server.pause()
    print(*server.pids, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["running", "paused"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "done"])
def test_nothing_outlives_the_process_that_started_it(tmp_path: Path, state: str, end: signal.Signals | None) -> None:
    folder = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, folder, str(tmp_path), state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 2, "the server and its child, which has left the session"
        assert all(map(is_alive, pids))
        if end is None:
            owner.stdin.close()
        else:
            owner.send_signal(end)
        owner.wait(20)
        assert wait_until(lambda: not any(map(is_alive, pids)))


def test_a_process_that_only_has_the_number_of_a_guarded_one_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        dog = subprocess.Popen(
            [sys.executable, "-I", "-S", watchdog.__file__, str(os.getpid())], stdin=subprocess.PIPE, text=True
        )
        dog.communicate(f"guard {other.pid} 1\n", timeout=20)  # which says that it started long ago
        assert dog.returncode == 0
        assert other.poll() is None
        other.kill()


def test_what_another_server_answers_does_not_count(tmp_path: Path) -> None:
    def another_answers(port: int) -> bool:
        return wait_until(lambda: server.pid is None)

    server = Server(lambda port: [sys.executable, "-S", "-c", "print('in use')"], tmp_path, another_answers)
    with pytest.raises(ServerError, match="in use\nin use\nin use"):
        server.start()
