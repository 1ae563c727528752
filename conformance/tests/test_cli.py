"""The command line: exit codes, what is printed, the files of a report."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from zaqar_conformance import cli, engine
from zaqar_conformance.check import Check, Violation, ensure
from zaqar_conformance.env import Env
from zaqar_conformance.history import Operation
from zaqar_core import NewMessage

pytestmark = pytest.mark.usefixtures("faulty")


def passes(env: Env) -> None:
    """It passes."""


def asks_first(env: Env) -> None:
    """It asks for the first message."""
    queue = env.queue()
    with env.history.call("main", "messages.post", queue, count=1):
        env.storage.messages.post(queue, [NewMessage(1)])
    env.storage.messages.first(queue)


def pops(env: Env) -> None:
    """It pops."""
    env.storage.messages.pop(env.queue(), limit=1)


@pytest.fixture(autouse=True)
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [Check("passes", passes, ("MSG-001",)), Check("asks_first", asks_first, ("MSG-013",))]
    made.append(Check("pops", pops, ("POP-001",)))
    monkeypatch.setattr("zaqar_conformance.engine.all_checks", lambda: made)
    monkeypatch.setattr("zaqar_conformance.cli.all_checks", lambda: made)


def run(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def test_0_if_all_passed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "faulty", "--report", str(tmp_path / "new"), "--seed=5") == 0
    printed = capsys.readouterr().out
    assert "faulty, contract 1, profile full: 3 passed" in printed
    assert "again: zaqar-conformance run faulty --profile=full --seed=5" in printed
    data = json.loads((tmp_path / "new" / "report.json").read_text("utf-8"))
    assert (data["exit_code"], data["outcomes"]["passed"], data["seed"]) == (0, 3, "5")
    assert f"for people: {tmp_path / 'new' / 'report.html'}\n" in printed
    assert "<h1>faulty</h1>" in (tmp_path / "new" / "report.html").read_text("utf-8")
    assert ET.parse(tmp_path / "new" / "junit.xml").getroot().get("tests") == "3"


def test_1_if_something_failed_and_it_says_all_about_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "faulty://a?fault=leaks&token=s3cret") == 1
    printed = capsys.readouterr().out
    for part in ("MSG-013", "checks that: It asks", "seen: unexpected KeyError", "messages.post(count=1)", "Traceback"):
        assert part in printed
    assert "reproduce: zaqar-conformance run 'faulty://a?fault=leaks&token=***' --only=asks_first --seed=" in printed
    assert "s3cret" not in printed


def shows_health(env: Env) -> None:
    """It shows what the driver says of itself, in a note and in its history."""
    health = env.driver.health()
    env.note(str(health))
    with env.history.call("main", "health", env.queue(), seen=health) as call:
        call.result = health
    raise Violation("MSG-001", str(health), env.history.operations)


def test_no_secret_is_shown_however_the_driver_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [Check("shows_health", shows_health, ("MSG-001",)), Check("asks_first", asks_first, ("MSG-013",))]
    monkeypatch.setattr("zaqar_conformance.engine.all_checks", lambda: made)
    uri = "faulty://u:p%40ss%5c-w0rd@s?token=t%2fk+-w0rd&fault=tells"
    assert run("run", uri, "--report", str(tmp_path)) == 1
    assert run("run", f"{uri}+at+once") == 3
    texts = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    captured = capsys.readouterr()
    texts |= {"stdout": captured.out, "stderr": captured.err}
    assert set(texts) == {"report.json", "report.html", "junit.xml", "stdout", "stderr"}
    for name, text in texts.items():
        assert "***" in text, name
        assert "w0rd" not in text, name


def test_of_many_failures_the_one_to_start_with_is_said_before_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def violates(env: Env) -> None:
        """It sees two ids for one message."""
        ensure(False, "MSG-001", "two ids")

    made = [Check(f"violates_{number}", violates, ("MSG-002",)) for number in range(6)]
    monkeypatch.setattr("zaqar_conformance.engine.all_checks", lambda: made)
    assert run("run", "faulty") == 1
    before, _, after = capsys.readouterr().out.partition("\n6 of 6 failures are about MSG-001: start there.\n")
    assert "checks that" not in before
    assert "checks that" in after


def test_1_if_something_is_not_implemented(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "faulty://a?fault=unfinished") == 1
    assert "MessageController.pop (1 check waits for it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "fualty"], "did you mean 'faulty'?"),
        (["run"], "no target was named"),
        (["run", "faulty", "--target=zaqar_faulty:FaultyTarget"], "not both"),
        (["run", "--target=zaqar_faulty"], "package.module:Class"),
        (["run", "--target=:FaultyTarget"], "package.module:Class"),
        (["run", "--target=zaqar_fualty:FaultyTarget"], "no module zaqar_fualty for"),
        (["run", "--target=zaqar_fualty.target:FaultyTarget"], "is its folder on PYTHONPATH?"),
        (["run", "--target=zaqar_faulty.target:FaultyTarget"], "no module zaqar_faulty.target for"),
        (["run", "--target=zaqar_faulty:FualtyTarget"], "did you mean zaqar_faulty:FaultyTarget?"),
        (["run", "faulty", "--only=ask_first"], "did you mean 'asks_first'?"),
        (["run", "faulty", "--depth=0"], "above 0"),
        (["run", "faulty", "--depth=many"], "'many' is no whole number above 0"),
        (["run", "faulty", "--depth=100"], "100 is too few: cost is compared with that of 100 messages ahead"),
        (["run", "faulty", f"--report={__file__}"], "name another directory"),
        (["run", "rethinkdb-cluster"], "pip install zaqar-rethinkdb"),
        (["run", "://"], "scheme"),
        (["run", "faulty", "--effort=soak"], "needs --minutes"),
        (["run", "faulty", "--minutes=5"], "--effort soak"),
        (["fly"], "invalid choice"),
        ([], "required"),
    ],
)
def test_2_for_wrong_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("faulty-broken", "a_module_that_is_not_there"),
        ("faulty-nothing", "no zaqar_conformance.target.Target"),
        ("faulty-dead", "install it"),
        ("faulty://a?fault=unreachable", "nobody answers"),
        ("nothing://a", "UnknownScheme"),
    ],
)
def test_3_if_the_datastore_or_its_target_is_not_to_be_had(
    target: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", target) == 3
    assert said in capsys.readouterr().err


def test_3_if_what_the_module_of_a_target_imports_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "--target=zaqar_faulty_broken:Target") == 3
    assert "No module named 'a_module_that_is_not_there'" in capsys.readouterr().err


def test_3_if_nothing_was_run() -> None:
    assert run("run", "faulty://a?without=POP", "--only=pops") == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_stops_the_datastore_and_reports_however_often_it_comes(
    number: signal.Signals, tmp_path: Path
) -> None:
    program = (
        "import signal, sys, threading, time, traceback\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # nohup ignores it
        "from zaqar_conformance import cli, engine\n"
        "from zaqar_conformance.check import Check\n"
        "def waits(env):\n"
        "    'It waits.'\n"
        "    main = threading.main_thread().ident\n"
        "    waiting = {'join', '_wait_for_tstate_lock'}\n"
        "    while traceback.extract_stack(sys._current_frames()[main])[-1].name not in waiting:\n"
        "        time.sleep(0.01)  # until the engine waits for this check\n"
        "    print('READY', flush=True)\n"
        "    time.sleep(3600)\n"
        "engine.all_checks = lambda: [Check('waits', waits, ('MSG-001',))]\n"
        "import os\n"
        "render = cli.to_junit\n"
        "def interrupted(report):\n"
        "    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
        "        os.kill(os.getpid(), number)  # while the reports are written\n"
        "    return render(report)\n"
        "cli.to_junit = interrupted\n"
        "code = cli.main(['run', 'faulty', '--report', sys.argv[1]])\n"
        "from zaqar_faulty import FaultyTarget\n"
        "print('STOPPED', FaultyTarget.started == FaultyTarget.stopped != [])\n"
        "sys.exit(code)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "READY\n"
            process.send_signal(number)
            printed, _ = process.communicate(timeout=60)
        finally:
            process.kill()  # or leaving the block would wait for one that hangs
    assert process.returncode == 3
    assert "interrupted" in printed
    assert "STOPPED True" in printed
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["interrupted"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.html", "report.json"]


def test_a_datastore_that_does_not_stop_is_an_error_of_the_run_and_not_the_end_of_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", "faulty-deaf", "--only=passes", "--report", str(tmp_path)) == 3
    captured = capsys.readouterr()
    assert "1 passed" in captured.out
    assert "the datastore of faulty-deaf did not stop: RuntimeError: faultyd is deaf" in captured.err
    assert "in stop" in captured.err
    assert "RuntimeError: faultyd is deaf" in (tmp_path / "report.html").read_text("utf-8")
    assert run("run", "faulty-deaf-and-dead") == 3
    assert "faultyd died; look at its log" in capsys.readouterr().err


def test_a_page_that_cannot_be_made_loses_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(report: object) -> str:
        raise LookupError("a mistake in the page\x1b[2J")

    monkeypatch.setattr(cli, "report_page", broken)
    assert run("run", "faulty", "--only=passes", "--report", str(tmp_path)) == 3
    captured = capsys.readouterr()
    assert "report.html could not be made" in captured.err
    assert "\x1b" not in captured.err
    assert "1 passed" in captured.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.json"]
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["outcomes"]["passed"] == 1


def test_the_report_is_written_though_nobody_reads_what_is_printed(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from zaqar_conformance import cli, engine\n"
        "from zaqar_conformance.check import Check\n"
        "def breaks(env):\n"
        "    'It breaks.'\n"
        "    sys.stdin.read()  # until its standard output is closed\n"
        "    raise LookupError\n"
        "engine.all_checks = lambda: [Check('breaks', breaks, ('MSG-001',)), Check('too', breaks, ('MSG-001',))]\n"
        "sys.exit(cli.main(['run', 'faulty', '--report', sys.argv[1]]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        process.stderr.read()
    assert process.returncode == 3
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["outcomes"]["error"] == 2


STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202egnp.exe \udc9b \r\b"
"""What a hostile server may say: C0, C1, DEL, a bidirectional override, a byte that was no UTF-8."""


def test_nothing_that_a_server_says_steers_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hostile(env: Env) -> None:
        """It hears a hostile server."""
        env.note(STEERING)
        operation = Operation(STEERING, "messages.post", STEERING, {STEERING: STEERING}, 0, 1, "ok", STEERING)
        raise Violation("MSG-001", STEERING, [operation])

    def hostile_error(env: Env) -> None:
        """It breaks."""
        raise LookupError(STEERING)

    checks = [Check("hostile", hostile, ("MSG-001",)), Check("hostile_error", hostile_error, ("MSG-002",))]
    monkeypatch.setattr(engine, "all_checks", lambda: checks)
    assert run("run", "faulty", "--report", str(tmp_path)) == 1
    captured = capsys.readouterr()
    texts = {"standard output": captured.out, "standard error": captured.err}
    texts |= {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert len(texts) == 5
    for name, text in texts.items():
        assert not [char for char in text if char != "\n" and not char.isprintable() and char != "\u202f"], name
        assert name == "standard error" or "\\u001b]0;owned" in text
    ET.fromstring(texts["junit.xml"])
    [shown] = [check for check in json.loads(texts["report.json"])["checks"] if check["name"] == "hostile"]
    assert shown["notes"] == [STEERING], "the report for machines loses nothing"
    assert run("html", str(tmp_path / "report.json"), "--out", str(tmp_path / "again.html")) == 0
    assert run("matrix", str(tmp_path / "report.json")) == 0
    assert "\x1b" not in (tmp_path / "again.html").read_text("utf-8") + capsys.readouterr().out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "faulty") == 0
    printed = capsys.readouterr().out
    assert "MSG-013" in printed
    assert "    asks_first: It asks for the first message." in printed
    assert run("list", "--profile=control") == 0
    assert "MSG-013" not in capsys.readouterr().out
    assert run("list", "--markdown") == 0
    assert "**MSG-013** (MUST, driver)" in capsys.readouterr().out


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("zaqar-conformance 0.")
    assert run("run", "--help") == 0
    assert "exit codes:" in capsys.readouterr().out


def test_effort_quick_leaves_out_what_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [Check("passes", passes, ("MSG-001",)), Check("asks_first", asks_first, ("MSG-013",), thorough=True)]
    monkeypatch.setattr("zaqar_conformance.engine.all_checks", lambda: made)
    assert run("run", "faulty", "--effort", "quick") == 0
    out = capsys.readouterr().out
    assert "1 not run, 1 passed" in out
    assert "--effort=quick" in out
    assert run("run", "faulty") == 0
    assert "2 passed" in capsys.readouterr().out


def test_effort_soak_goes_round_and_round_until_something_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = []

    def breaks_in_the_third_round(env: Env) -> None:
        """It holds for a while."""
        seeds.append(env.seed)
        ensure(len(seeds) < 3, "MSG-001", "it is over")

    made = [Check("breaks", breaks_in_the_third_round, ("MSG-001",))]
    monkeypatch.setattr("zaqar_conformance.engine.all_checks", lambda: made)
    assert run("run", "faulty", "--effort", "soak", "--minutes", "5", "--seed", "7") == 1
    out = capsys.readouterr().out
    assert [line[:7] for line in out.splitlines() if line.startswith("round ")] == ["round 1", "round 2", "round 3"]
    assert seeds[0].startswith("7/")
    assert len(set(seeds)) == 3
