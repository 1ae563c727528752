"""Host names: looked up and connected to by one deadline, by few threads, whatever interrupts a caller."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from zaqar_conformance.bytecodes import interrupt
from zaqar_core.kit import resolve

SLACK = 1.0
"""Seconds that a machine under load may add."""
Names = dict[str, Callable[[], list[str]]]


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test asked, and what still hangs, is not this one's."""
    monkeypatch.setattr(resolve, "_state", resolve._State())


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What a name server answers: for each name the addresses."""
    known: Names = {}
    true = socket.getaddrinfo

    def lookup(host: str, port: int, **options: Any) -> Any:
        if host not in known:
            return true(host, port, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in known[host]()]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return known


@pytest.fixture
def hanging(names: Names) -> Iterator[list[str]]:
    """Names about which the name server says nothing until the test is over; and who asked it."""
    asked: list[str] = []
    over = threading.Event()

    def answer(name: str) -> list[str]:
        asked.append(name)
        over.wait(60)
        return ["127.0.0.1"]

    for number in range(100):
        names[f"hangs{number}.test"] = lambda name=f"hangs{number}.test": answer(name)  # type: ignore[misc]
    yield asked
    over.set()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as one:
        yield one


@pytest.fixture
def silent(listener: socket.socket) -> Iterator[list[str]]:
    """Addresses of which none answers, at the listener's port."""
    addresses = [f"127.0.0.{number}" for number in (2, 3, 4, 5)]
    port = listener.getsockname()[1]
    with ExitStack() as stack:
        for ip in addresses:
            stack.enter_context(socket.create_server((ip, port), backlog=0))
            for _ in range(3):  # fill the backlog: further packets are dropped
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex((ip, port))
        yield addresses


def test_what_can_be_a_host() -> None:
    for host in ("a", "a.b", "a-b.c.", "my_redis", "1a", "bücher.example", "127.0.0.1", "::1", "xn--a", "a" * 63):
        assert resolve.is_host(host), host
    assert resolve.is_host("1234567890123456")  # a name, since it is too large for an address
    wrong = ("", " ", "a b", "a..b", ".a", "a" * 64, ".".join(["a" * 60] * 5), "a/b", "a:b", "a\0b", "ü" * 70, "\ud800")
    for host in (*wrong, "a" * 100_000, "ü" * 100_000, "999.1.1.1", "1.2.3.4.5", "a@b", "*", "a\n", "[::1]"):
        assert not resolve.is_host(host), host


def test_what_cannot_be_a_host_is_an_unknown_name() -> None:
    for host in ("", "a b", "a" * 64, "\ud800"):
        with pytest.raises(socket.gaierror):
            resolve.connect(host, 1, soon())


def test_an_address_needs_no_thread(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "_start_worker", lambda: pytest.fail("a thread was started"))
    host, port = listener.getsockname()
    with resolve.connect(host, port, soon()) as wire:
        assert 0 < (wire.gettimeout() or 0) <= 5


def test_a_name_is_looked_up_each_time(names: Names) -> None:
    addresses = [["127.0.0.1"], ["127.0.0.2", "127.0.0.3"]]
    names["a.test"] = lambda: addresses.pop(0)
    assert [address for _, address in resolve.resolve("a.test", 7, soon())] == [("127.0.0.1", 7)]
    found = [address for _, address in resolve.resolve("a.test", 7, soon())]
    assert found == [("127.0.0.2", 7), ("127.0.0.3", 7)]


def test_the_second_address_is_used_where_the_first_refuses(names: Names, listener: socket.socket) -> None:
    names["a.test"] = lambda: ["127.0.0.9", "127.0.0.1"]
    with resolve.connect("a.test", listener.getsockname()[1], soon()) as wire:
        assert wire.getpeername()[0] == "127.0.0.1"


def test_silent_addresses_leave_a_share_for_the_last(names: Names, listener: socket.socket, silent: list[str]) -> None:
    names["a.test"] = lambda: [*silent, "127.0.0.1"]
    with resolve.connect("a.test", listener.getsockname()[1], soon(2)) as wire:
        assert wire.getpeername()[0] == "127.0.0.1"


def test_all_addresses_of_a_name_have_one_deadline(names: Names, listener: socket.socket, silent: list[str]) -> None:
    names["a.test"] = lambda: silent
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="none of the 4 addresses"):
        resolve.connect("a.test", listener.getsockname()[1], soon(0.4))
    assert time.monotonic() - began < 0.4 + SLACK


def test_a_name_server_that_hangs_costs_no_more_than_the_deadline_and_few_threads(hanging: list[str]) -> None:
    before = threading.active_count()
    began = time.monotonic()
    for number in range(100):
        with pytest.raises(TimeoutError, match="in time") as raised:
            resolve.resolve(f"hangs{number}.test", 1, soon(0.01))
        is_waiting = number >= resolve._WORKERS
        assert str(raised.value).endswith("8 other lookups are under way, as many as may be") == is_waiting
    for _ in range(100):
        with pytest.raises(TimeoutError):
            resolve.resolve("hangs0.test", 1, soon(0.001))
    assert time.monotonic() - began < 1.1 + 3 * SLACK
    assert len(hanging) == resolve._WORKERS
    assert threading.active_count() - before <= resolve._WORKERS


def test_names_are_looked_up_again_once_the_name_server_answers(names: Names) -> None:
    over = threading.Event()
    names["slow.test"] = lambda: ["127.0.0.1"] if over.wait(60) else []
    for _ in range(3):
        with pytest.raises(TimeoutError):
            resolve.resolve("slow.test", 1, soon(0.01))
    over.set()
    assert resolve.resolve("slow.test", 1, soon())


def test_what_the_name_server_says_is_passed_on(names: Names) -> None:
    def fail() -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "try later")

    names["a.test"] = fail
    with pytest.raises(socket.gaierror, match="try later"):
        resolve.resolve("a.test", 1, soon())
    names["b.test"] = list
    with pytest.raises(socket.gaierror, match="no address"):
        resolve.resolve("b.test", 1, soon())


def test_threads_that_ask_for_one_name_share_a_lookup(names: Names) -> None:
    asked: list[int] = []
    over = threading.Event()

    def answer() -> list[str]:
        asked.append(1)
        over.wait(10)
        return ["127.0.0.1"]

    names["a.test"] = answer
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(resolve.resolve("a.test", 1, soon()))) for _ in range(20)]
    for thread in threads:
        thread.start()
    while not resolve._state.lookups or len(next(iter(resolve._state.lookups.values())).waiting) < 20:
        assert all(thread.is_alive() for thread in threads)
    over.set()
    for thread in threads:
        thread.join()
    assert (len(found), len(asked)) == (20, 1)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_exception_at_any_bytecode_leaves_names_and_sockets_usable(
    names: Names, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # pytest's keeps the exceptions, and with them sockets
    names["a.test"] = lambda: ["127.0.0.9", "127.0.0.1"]
    port = listener.getsockname()[1]

    def use() -> None:
        resolve.connect("a.test", port, soon()).close()

    done: list[int] = []

    def interrupt_everywhere() -> None:
        at = 1
        while interrupt(use, at):
            use()
            at += 1
        done.append(at)

    use()
    gc.collect()  # closes what earlier tests left to the garbage collector
    sockets = open_files()
    # In a thread: where an exception is handled, an interruption leaves it behind as the one that the thread handles.
    thread = threading.Thread(target=interrupt_everywhere)
    thread.start()
    thread.join()
    gc.collect()  # closes what an exception kept, with its frames
    assert open_files() == sockets
    assert done[0] > 100


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_the_child_of_a_fork_looks_names_up_itself(names: Names, hanging: list[str]) -> None:
    with pytest.raises(TimeoutError):
        resolve.resolve("hangs0.test", 1, soon(0.05))
    pid = os.fork()
    if not pid:
        try:
            names["hangs0.test"] = lambda: ["127.0.0.1"]
            os._exit(0 if resolve.resolve("hangs0.test", 1, soon()) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
