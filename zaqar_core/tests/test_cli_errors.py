"""Errors in one line with their exit code, options before and after the command, secrets, and a reader that leaves."""

from __future__ import annotations

import inspect
import io
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zaqar_core import errors, observers
from zaqar_core.cli import main
from zaqar_core.cli.exits import MEANINGS, CommandError, Exit, exit_of
from zaqar_core.cli.output import Output
from zaqar_core.storage import Storage

Zaqar = Callable[..., Any]
OnTerminal = Callable[..., tuple[int, str]]

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.QueueDoesNotExist, 1),
        (errors.InvalidBody, 2),
        (errors.InvalidUri, 2),
        (errors.StorageUnavailable, 3),
        (errors.StorageFull, 3),
        (errors.IncompatibleStorage, 3),
        (errors.OutcomeUnknown, 4),
        (errors.UnknownScheme, 5),
        (errors.CodecError, 5),
        (errors.MessageIsClaimed, 6),
        (errors.Unsupported, 6),
        (RuntimeError, 70),
    ],
)
def test_exit_code_of(error: type[Exception], code: int) -> None:
    assert exit_of(error()) == code


def test_every_error_of_the_tree_has_a_code() -> None:
    tree = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.ZaqarError) and kind is not errors.ZaqarError
    }
    assert [kind for kind in tree if exit_of(kind()) is Exit.DEFECT] == []
    assert exit_of(CommandError("", Exit.REFUSED)) is Exit.REFUSED


def test_every_code_has_a_meaning_and_stands_in_the_help(zaqar: Zaqar) -> None:
    shown = zaqar("--help")
    assert (shown.code, list(MEANINGS)) == (0, list(Exit))
    for code, meaning in MEANINGS.items():
        assert f"\n  {code.value:>3}  {meaning}\n" in shown.out


def test_every_command_has_a_help_without_the_options_of_all(zaqar: Zaqar) -> None:
    for argv in (["drivers"], ["queue", "post"], ["pool", "update"], ["subscription", "confirm"], ["message", "get"]):
        shown = zaqar(*argv, "--help")
        assert shown.code == 0
        assert f"usage: zaqar {' '.join(argv)} " in shown.out
        assert "--uri" not in shown.out.replace("--pool-uri", "")


def test_version(zaqar: Zaqar) -> None:
    assert zaqar("--version").out.endswith(", contract 1\n")


def test_options_stand_before_or_after_the_command(zaqar: Zaqar, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/other.db"
    zaqar("queue", "create", "mine", "--uri", uri, "--project", "p")
    for argv in (
        ["--uri", uri, "--project=p", "--json", "queue", "list"],
        ["queue", "--uri", uri, "--project=p", "list", "--json"],
        ["--uri", "sqlite:////overridden/", "queue", "list", "--json", "--uri", uri, "--project=p"],
    ):
        assert zaqar(*argv).documents == [{"queue": "mine"}]
    assert zaqar("queue", "list", "--uri", uri, "--json").documents == []


def test_the_environment_gives_what_options_do_not(
    zaqar: Zaqar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZAQAR_PROJECT", "p")
    monkeypatch.setenv("ZAQAR_CLIENT_ID", "me")
    monkeypatch.setenv("ZAQAR_CONTROL_URI", f"sqlite:///{tmp_path}/control.db")
    zaqar("queue", "post", "orders", "1")
    control = zaqar("queue", "list", "--uri", f"sqlite:///{tmp_path}/control.db", "--json")
    assert control.documents == [{"queue": "orders"}]
    assert zaqar("queue", "peek", "orders", "--json").documents[0]["client_id"] == "me"
    assert zaqar("queue", "list", "--project=").err == "zaqar: no queues\n"
    monkeypatch.setenv("ZAQAR_URI", "")
    missing = zaqar("queue", "list")
    assert missing.code == 2
    assert missing.err.startswith("zaqar: error: no URI: pass --uri or set ZAQAR_URI")


def test_timeout_and_codec_reach_the_storage(zaqar: Zaqar) -> None:
    assert zaqar("queue", "list", "--timeout=0").err.startswith("zaqar: error: --timeout is 0.0 s")
    unknown = zaqar("queue", "list", "--codec=nosuch")
    assert (unknown.code, unknown.err.count("\n")) == (5, 1)


@pytest.mark.parametrize(
    ("uri", "code", "error"),
    [
        ("sqlit:///x.db", 5, "no driver for 'sqlit' is installed; did you mean 'sqlite'?"),
        ("sqlite:////nosuch/folder/x.db", 3, "the folder of '/nosuch/folder/x.db' does not exist"),
        ("sqlite:///x.db?synchronus=FULL", 2, "the sqlite driver has no option 'synchronus'; did you mean"),
        ("queues.db", 2, "a URI starts with a scheme"),
        (f"nosuch://me:{SECRET}@host", 5, "no driver for 'nosuch'"),
    ],
)
def test_a_storage_that_cannot_be_opened(zaqar: Zaqar, uri: str, code: int, error: str) -> None:
    for argv in (["ping", uri], ["--uri", uri, "ping"], ["queue", "list", "--uri", uri]):
        done = zaqar(*argv)
        assert (done.code, done.out) == (code, "")
        assert done.err.startswith(f"zaqar: error: {error}")
        assert done.err.count("\n") == 1
        assert SECRET not in done.err


def test_wrong_usage_is_one_line_without_secrets(zaqar: Zaqar) -> None:
    for rest in (f"me:{SECRET}@host/0", f"me:a/{SECRET}@host", f"me:a {SECRET}@host", f"host?password={SECRET}"):
        done = zaqar("queue", "list", f"redis://{rest}")
        assert (done.code, done.err) == (2, "zaqar: error: unrecognized arguments: redis://***; see zaqar --help\n")
    assert SECRET not in zaqar(f"redis://me:a/{SECRET}@host").err
    assert zaqar("queue", "create", "a", "{").err.endswith("; see zaqar queue create --help\n")
    assert zaqar("queue", "create", "a", "[]").code == 2
    assert zaqar("queue", "list", "--lim=3").code == 2


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("--timeout 0 queue list", "--timeout is 0.0 s; it must lie between"),
        ("--timeout 5m queue list", "argument --timeout: '5m' is not a number of seconds; write 300 for 5 minutes"),
        ("queue claim q --ttl 5m", "argument --ttl: '5m' is not a number of seconds; write 300 for 5 minutes"),
        ("queue claim q --grace x", "argument --grace: 'x' is not a number of seconds"),
        ("queue claim q --wait x", "argument --wait: 'x' is not a number of seconds"),
        ("queue release q c --delay x", "argument --delay: 'x' is not a number of seconds"),
        ("queue post q 1 --delay 1h", "argument --delay: '1h' is not a number of seconds"),
        ("subscription create q https://x.y --ttl 1d", "argument --ttl: '1d' is not a number of seconds"),
        ("queue post q - --batch 0", "--batch is 0; it is a whole number from 1: pass 1 or more, or leave it out"),
        ("queue ack q", "the following arguments are required: CLAIM_ID; see"),
        ("queue release q", "the following arguments are required: CLAIM_ID; see"),
        ("flavor create", "the following arguments are required: FLAVOR; see"),
        ("pool show nosuch", "create it, or see zaqar pool list"),
        ("flavor show nosuch", "create it, or see zaqar flavor list"),
        ("catalogue create q nosuch", "if zaqar pool list shows it"),
        ("subscription confirm q nosuch", "see zaqar subscription list"),
        ("queue peek q --marker !", "a page's marker\n"),
    ],
)
def test_errors_speak_of_options_and_commands(zaqar: Zaqar, command: str, error: str) -> None:
    done = zaqar(*command.split())
    assert done.code in (1, 2)
    assert error in done.err


def test_no_command_shows_the_help(zaqar: Zaqar) -> None:
    for argv in ([], ["queue"], ["pool", "--json"]):
        done = zaqar(*argv)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(" ".join(["usage: zaqar", *argv[:1]]))
        assert "\nexit codes:\n" in done.err if not argv else "\n    create " in done.err


def test_debug_shows_the_traceback_and_a_defect_asks_for_it(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" in zaqar("queue", "stats", "nosuch", "--debug").err
    monkeypatch.setattr(Storage, "gc", lambda _: 1 // 0)
    plain = zaqar("gc")
    assert (plain.code, plain.out) == (70, "")
    assert plain.err.startswith("zaqar: error: ZeroDivisionError: ")
    assert plain.err.count("\n") == 1
    shown = zaqar("gc", "--debug")
    assert shown.code == 70
    assert shown.err.startswith("Traceback")


class Failing:
    """An observer that fails."""

    @observers.hookimpl
    def operation_started(self) -> None:
        raise RuntimeError("out of order")


def test_what_is_logged_is_one_line_and_a_traceback_only_if_asked_for(zaqar: Zaqar) -> None:
    for options, lines in (([], 1), (["--debug"], 10)):
        failing = Failing()
        observers.register(failing)
        try:
            done = zaqar("queue", "post", "orders", "1", *options)
        finally:
            observers.unregister(failing)
        assert (done.code, done.out.count("\n")) == (0, 1)
        assert done.err.startswith("zaqar: the observer Failing failed in operation_started")
        assert ("RuntimeError: out of order\n" in done.err) == bool(options)
        assert min(done.err.count("\n"), 10) == lines
    assert not [each for each in logging.getLogger().handlers if "zaqar_core" in type(each).__module__]


def test_errors_cannot_steer_the_terminal(zaqar: Zaqar) -> None:
    assert "\x1b" not in zaqar("queue", "stats", "a\x1b[2J\nb").err


def test_a_storage_that_was_opened_and_does_not_answer(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Storage, "is_alive", lambda _: False)
    assert zaqar("ping").code == 3


@pytest.mark.parametrize(("error", "code"), [(BrokenPipeError, 141), (KeyboardInterrupt, 130)])
def test_a_reader_that_leaves_and_ctrl_c_end_it_quietly(
    zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], code: int
) -> None:
    def leave(_: Storage) -> int:
        raise error

    monkeypatch.setattr(Storage, "gc", leave)
    done = zaqar("gc")
    assert (done.code, done.out, done.err) == (code, "", "")


def test_streams_that_fail_or_are_closed(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Storage, "gc", lambda _: os.read(-1, 1))
    done = zaqar("gc")
    assert (done.code, done.err) == (
        74,
        "zaqar: error: standard input or output failed: [Errno 9] Bad file descriptor\n",
    )
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, None)
    assert main(["queue", "create", "orders"]) == 0
    assert main(["queue", "purge", "orders"]) == 2
    assert main(["queue", "post", "orders", "-"]) == 2


# --- a terminal -----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> OnTerminal:
    """``terminal(*arguments, typed="")`` runs the command on one; what was shown."""

    def run(*arguments: str, typed: str = "") -> tuple[int, str]:
        screen = Terminal()
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", "40")
            patch.setattr(sys, "stdin", Terminal(typed))
            patch.setattr(sys, "stdout", screen)
            patch.setattr(sys, "stderr", screen)
            code = main(arguments)
        return code, screen.getvalue()

    return run


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("Yes", 0), ("n", 6), ("", 6)])
def test_it_asks_before_it_deletes(zaqar: Zaqar, terminal: OnTerminal, answer: str, code: int) -> None:
    zaqar("queue", "post", "orders", "1")
    ended, shown = terminal("queue", "delete", "orders", typed=f"{answer}\n")
    assert ended == code
    assert shown.startswith("delete queue 'orders' with 1 message? [y/N] ")
    assert shown.endswith("zaqar: error: the answer was no: nothing was done\n") is (code == 6)


def test_a_table_is_cut_to_the_terminal(zaqar: Zaqar, terminal: OnTerminal) -> None:
    zaqar("queue", "create", "q", json.dumps({"text": "日" * 50}))
    _, shown = terminal("queue", "list", "--detailed")
    assert shown.splitlines()[-1] == 'q      {"text": "' + "日" * 11 + "…"


def test_progress_shows_after_a_while_and_is_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    output = Output(as_json=False)
    output.progress("too early")
    monkeypatch.setattr("zaqar_core.cli.output._PATIENCE", 0)
    monkeypatch.setattr("zaqar_core.cli.output._TICK", 0)
    output.progress("posted 10")
    output.progress("done 2")
    output.say("end")
    assert screen.getvalue() == f"\rposted 10\rdone 2   \r{' ' * 6}\rend\n"


def test_json_for_an_encoding_that_lacks_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    for as_json in (True, False):
        output = Output(as_json=as_json)
        output.done("日本", {"a": "日"})
        output.flush()
    assert raw.getvalue() == b'{"a": "\\u65e5"}\n\\u65e5\\u672c\n'


def test_nothing_that_a_server_or_a_plugin_says_steers_the_terminal(
    zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the error's line, in the traceback of --debug, in what is logged, and in the health of a backend."""
    hostile = "\x1b]0;owned\x07 \x9b2J \x7f \u202e \udc9b \r"

    def fails(*_: object, **__: object) -> None:
        # pytest-xdist cannot hand on what it captures of the log if it has a surrogate.
        logging.getLogger("third.party").error("it says %s", hostile.replace("\udc9b", ""))
        raise errors.StorageUnavailable(f"it says {hostile}") from ConnectionError(hostile)

    def steers(text: str) -> set[str]:
        return {char for char in text if not char.isprintable() and char != "\n"}

    monkeypatch.setattr(Storage, "gc", fails)
    for options in ([], ["--debug"]):
        shown = zaqar(*options, "gc")
        assert "\\u001b]0;owned\\u0007 \\u009b2J \\u007f \\u202e \\udc9b \\r" in shown.err
        assert steers(shown.err) == set()
    monkeypatch.setattr(Storage, "health", lambda _: {"data": {hostile: hostile}, "control": {}})
    assert steers(zaqar("ping").out) == set()
    assert json.loads(zaqar("--json", "ping").out)["health"]["data"] == {hostile: hostile}
    assert steers(zaqar("--json", "ping").out) == set()
    assert steers(zaqar(f"--{hostile}").err) == set()


@pytest.mark.parametrize("error", [errors.StorageUnavailable(SECRET), RuntimeError(SECRET)])
def test_no_error_shows_a_secret_of_a_uri_that_the_command_was_given(
    zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A driver that puts it into what it raises, or logs, as long as it works."""

    def fails(_: Storage) -> int:
        logging.getLogger("third.party").error("as %s", SECRET)
        raise error from ConnectionError(f"me:{SECRET}@host")

    monkeypatch.setattr(Storage, "gc", fails)
    control = f"memory://me:{SECRET}@host"
    for options in ([], ["--debug"]):
        done = zaqar("gc", f"--control={control}", *options)
        assert SECRET not in done.err
        assert "***" in done.err


def test_an_error_without_a_text_is_told_too(zaqar: Zaqar, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    def fails(_: Storage) -> int:
        raise Mute

    monkeypatch.setattr(Storage, "gc", fails)
    assert zaqar("gc").err.startswith("zaqar: error: Mute: <its text fails with ZeroDivisionError>; this is a defect")
    assert zaqar("gc", "--debug").code == 70
