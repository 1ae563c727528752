"""``zaqar`` as a process of its own: pipes, a reader that leaves, Ctrl-C, a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = str(Path(sysconfig.get_path("scripts"), "zaqar"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "ZAQAR_URI": f"sqlite:///{tmp_path}/queues.db", "PYTHONWARNINGS": "error"}


@pytest.mark.parametrize("command", [[SCRIPT], [sys.executable, "-m", "zaqar_core"]], ids=["script", "module"])
def test_both_ways_to_start_it(command: list[str], environment: dict[str, str]) -> None:
    argv = [*command, "queue", "stats", "x"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("zaqar: error: no queue 'x' is registered")


def test_many_lines_through_pipes(environment: dict[str, str]) -> None:
    lines = "".join(json.dumps({"n": n, "text": "x" * 40}) + "\n" for n in range(20_000))
    post = subprocess.run(
        [SCRIPT, "queue", "post", "orders", "-"],
        input=lines,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (post.returncode, post.stdout, post.stderr) == (0, "posted 20000 messages to queue 'orders'\n", "")
    peek = [SCRIPT, "queue", "peek", "orders", "--limit=30000", "--json"]
    with subprocess.Popen(peek, env=environment, stdout=subprocess.PIPE) as source:
        moved = subprocess.run(
            [SCRIPT, "queue", "post", "copy", "-", "--envelope"], stdin=source.stdout, env=environment, check=True
        )
    assert moved.returncode == source.returncode == 0
    found = subprocess.run(
        [*peek[:3], "copy", *peek[4:]], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [json.loads(line)["body"]["n"] for line in found] == list(range(20_000))


def test_a_slow_writer_does_not_wait_for_a_batch(environment: dict[str, str]) -> None:
    post = [SCRIPT, "queue", "post", "orders", "-", "--json"]
    with subprocess.Popen(post, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for n in range(3):
            process.stdin.write(f"{n}\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["line"] == n + 1
        process.stdin.close()
        assert process.wait() == 0


def test_a_reader_that_leaves(environment: dict[str, str]) -> None:
    lines = "".join(f"{n}\n" for n in range(5_000))
    subprocess.run([SCRIPT, "queue", "post", "q", "-"], input=lines, env=environment, text=True, check=True)
    peek = [SCRIPT, "queue", "peek", "q", "--limit=5000", "--json"]
    with subprocess.Popen(peek, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["body"] == 0
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Where these tests run in the background of a shell, Ctrl-C is ignored, and what they start would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_control_c_while_posting_says_what_was_posted(environment: dict[str, str]) -> None:
    post = [SCRIPT, "queue", "post", "orders", "-", "--json"]
    with subprocess.Popen(
        post, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"1\n2\n")
        process.stdin.flush()
        posted = [json.loads(process.stdout.readline())["line"] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert posted == [1, 2]
        assert process.stderr.read() == b"zaqar: lines up to 2 were posted (2 messages), nothing else was\n"


def test_a_question_on_a_terminal(environment: dict[str, str]) -> None:
    subprocess.run([SCRIPT, "queue", "post", "orders", "1"], env=environment, capture_output=True, check=True)
    master, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            [SCRIPT, "queue", "purge", "orders"],
            env=environment,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=terminal,
        ) as process:
            asked = b""
            while b"[y/N] " not in asked:
                asked += os.read(master, 1000)
            os.write(master, b"y\n")
            out, _ = process.communicate(timeout=30)
    finally:
        os.close(master)
        os.close(terminal)
    assert asked == b"delete all messages of queue 'orders', now 1? [y/N] "
    assert (process.returncode, out) == (0, b"purged queue 'orders', which had 1 message\n")
