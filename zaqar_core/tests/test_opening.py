"""What a driver raises while it is opened comes out as an error of this project, and shows no secret of the URI."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zaqar_core
from zaqar_core import errors
from zaqar_core.hiding import Secrets
from zaqar_core.registry import GROUP
from zaqar_core.uri import Uri

SECRET = "hunt er/2'é"
WRITTEN = "hunt%20er%2F2'%C3%A9"
URI = f"mine://me:{WRITTEN}@host/?token={WRITTEN}&of=x%3A%2F%2Fu%3Adeeper2%40h"

DRIVER = """
from urllib.parse import quote, unquote
from zaqar_core import errors
from zaqar_core.contract import Driver

class Lying(Exception):
    def __str__(self): raise RuntimeError("no text")

class Keeping(Exception):
    def __init__(self, uri):
        self.uri = uri
    def __str__(self): return f"cannot open {self.uri.authority}"

class Mine(Driver):
    contract = 1
    possible_capabilities = frozenset()
    closed = []

    @classmethod
    def open(cls, uri, *, connect_timeout, timeout):
        secret = uri.password
        raise_it(uri, secret)
        return cls()

    capabilities = frozenset()
    def ping(self): pass
    def close(self): self.closed.append(1)

def raise_it(uri, secret):
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``mine(source, rest="")`` installs a driver whose ``open`` does this, besides those that are really installed."""

    def add(source: str, rest: str = "") -> None:
        info = tmp_path / "zaqar_mine-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zaqar-mine\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\nmine = opened_module:Mine\n", "utf-8")
        (tmp_path / "opened_module.py").write_text(f"{DRIVER}    {source}\n{rest}\n", "utf-8")
        monkeypatch.syspath_prepend(tmp_path)

    return add


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError(f'cannot log in with {secret}')",
        "raise ValueError(uri.authority, secret)",
        "raise KeyError(secret)",
        "raise OSError(5, 'no', secret)",
        "raise Lying(secret)",
        "raise Keeping(uri)",
        "raise RuntimeError('outer') from ValueError(repr(secret))",
        "raise ExceptionGroup('all', [ValueError(uri.options['token'])])",
        "error = ValueError('no'); error.__cause__ = OSError(secret); raise ExceptionGroup('all', [error])",
        "inner = ExceptionGroup(secret, [ValueError('no')]); raise ExceptionGroup('all', [inner, KeyError(1)])",
        "error = RuntimeError('see the note'); error.add_note(secret); raise error",
        "raise RuntimeError(uri.options['of'])",
        "secret.encode('ascii')",
        "try:\n        raise KeyError(secret)\n    except KeyError:\n        raise RuntimeError('after') from None",
        "return int(secret)",
    ],
)
def test_another_exception_is_a_broken_driver_and_no_text_shows_a_secret(
    mine: Callable[..., None], source: str
) -> None:
    mine(source)
    with pytest.raises(
        errors.BrokenDriver, match=r"the driver for 'mine' failed to open with .*report it to its"
    ) as raised:
        zaqar_core.connect(URI)
    assert raised.value.__cause__ is not None
    assert shown(raised.value) == []


@pytest.mark.parametrize(
    "source",
    [
        "raise errors.StorageUnavailable(f'{uri.authority} does not answer') from OSError(secret)",
        "raise errors.InvalidOption('wrong') from ValueError(uri.options['of'])",
        "raise errors.StorageUnavailable('no answer from h') from RuntimeError(quote(secret))",
        "error = errors.StorageUnavailable('no'); error.add_note(secret); raise error",
    ],
)
def test_an_error_of_this_project_stays_what_it_is_without_the_secret(mine: Callable[..., None], source: str) -> None:
    mine(source)
    with pytest.raises((errors.StorageUnavailable, errors.InvalidOption)) as raised:
        zaqar_core.connect(URI)
    assert shown(raised.value) == []


def test_the_members_of_a_group_are_kept_without_the_secret(mine: Callable[..., None]) -> None:
    mine("raise ExceptionGroup('all', [LookupError('a table'), errors.StorageFull(secret), ValueError(secret)])")
    with pytest.raises(errors.BrokenDriver) as raised:
        zaqar_core.connect(URI)
    group = raised.value.__cause__
    assert isinstance(group, ExceptionGroup)
    assert group.message == "all"
    assert [(type(one).__name__, str(one)) for one in group.exceptions] == [
        ("LookupError", "a table"),
        ("StorageFull", "***"),
        ("HiddenError", "ValueError: ***"),
    ]


def test_an_error_that_shows_no_secret_is_the_drivers_own(mine: Callable[..., None]) -> None:
    mine("raise errors.IncompatibleStorage('not ours') from LookupError('a table')")
    with pytest.raises(errors.IncompatibleStorage, match=r"^not ours$") as raised:
        zaqar_core.connect(URI)
    assert type(raised.value.__cause__) is LookupError


@pytest.mark.parametrize("stop", ["KeyboardInterrupt", "SystemExit"])
def test_what_ends_a_process_passes(mine: Callable[..., None], stop: str) -> None:
    mine(f"raise {stop}")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        zaqar_core.connect("mine://h")


def test_an_open_that_is_not_written_yet_is_known_as_such(mine: Callable[..., None]) -> None:
    mine("raise NotImplementedError")
    with pytest.raises(NotImplementedError) as raised:
        zaqar_core.connect("mine://h")
    assert isinstance(raised.value, errors.BrokenDriver)


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("Mine.open = classmethod(lambda cls, uri, **times: None)", "TypeError: expected open to return a Driver"),
        ("Mine.capabilities = ['SPEED']", "ValueError: 'SPEED' is not a valid Capability"),
        ("Mine.capabilities = property(lambda self: 1 // 0)", "ZeroDivisionError"),
        ("Mine.limits = {'max_body_bytes': 1}", "TypeError: expected its limits to be a Limits or None, got dict"),
        ("Mine.ping = None; Mine.__abstractmethods__ = {'ping'}", "TypeError: Can't instantiate abstract class"),
    ],
)
def test_what_is_no_open_driver_is_a_broken_one_and_closed(mine: Callable[..., None], rest: str, why: str) -> None:
    mine("pass", rest)
    with pytest.raises(errors.BrokenDriver, match=f"the driver for 'mine' failed to open with {why}"):
        zaqar_core.connect("mine://h")
    module: Any = sys.modules["opened_module"]
    assert len(module.Mine.closed) == ("capabilities" in rest or "limits" in rest)


def test_the_control_plane_and_pools_are_opened_alike(mine: Callable[..., None]) -> None:
    with zaqar_core.connect("memory://opening-of-pools") as storage:
        mine("raise RuntimeError(secret)")
        for call in (
            lambda: zaqar_core.connect("memory://opening-of-pools", control=URI),
            lambda: storage.pools.create("p", uri=URI),
        ):
            with pytest.raises(errors.ZaqarError) as raised:
                call()
            assert shown(raised.value) == []


def test_only_what_is_long_enough_to_be_no_part_of_a_word_is_hidden() -> None:
    assert Secrets(Uri.parse("x://u:a@h")).hide("a word") == "a word"
    assert Secrets(Uri.parse("x://u:word@h")).hide("a word") == "a ***"
    assert Secrets(Uri.parse("x://word@h")).hide("a word") == "a ***"
    assert Secrets(Uri.parse("x://word:secret@h")).hide("a word") == "a word"


def shown(error: BaseException | None) -> list[str]:
    """Texts of the error and of all that led to it that show a secret."""
    if error is None:
        return []
    texts = [repr(error), *map(repr, error.args), *getattr(error, "__notes__", [])]
    try:
        texts += traceback.format_exception(error)
    except RecursionError:
        raise AssertionError("the causes go round") from None
    secrets = (SECRET, WRITTEN, "deeper2", repr(SECRET)[1:-1])
    found = [text for text in texts if any(secret in text for secret in secrets)]
    return found + shown(error.__cause__) + shown(error.__context__)
