"""Finding drivers by scheme, among distributions that are really installed: folders on the path."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from zaqar_core.errors import AmbiguousScheme, BrokenDriver, ContractMismatch, UnknownScheme
from zaqar_core.plugins import owner, version
from zaqar_core.registry import DISTRIBUTIONS, GROUP, installed, load_driver

Install = Callable[..., None]

DRIVER = """
from zaqar_core.contract import Driver

class Mine(Driver):
    contract = {contract}

class Undeclared(Driver):
    pass

class Other:
    contract = 1

instance = object()
"""


def driver(contract: object = 1) -> str:
    return DRIVER.format(contract=contract)


def test_a_driver_is_found_by_its_scheme_and_only_then_imported(install: Install) -> None:
    install("zaqar-mine", GROUP, {"mine": "mine_module:Mine"}, mine_module=driver())
    install("zaqar-idle", GROUP, {"idle": "idle_module:Mine"}, idle_module=driver())
    assert {scheme: [entry.value for entry in entries] for scheme, entries in installed().items()} == {
        "idle": ["idle_module:Mine"],
        "mine": ["mine_module:Mine"],
    }
    assert not {"mine_module", "idle_module"} & set(sys.modules)
    assert load_driver("mine").__name__ == "Mine"
    assert "idle_module" not in sys.modules


@pytest.mark.parametrize(("scheme", "close"), [("myne", "mine"), ("mines", "mine"), ("mine+tsl", "mine+tls")])
def test_an_unknown_scheme_names_the_closest_installed(install: Install, scheme: str, close: str) -> None:
    install("zaqar-mine", GROUP, {"mine": "mine_module:Mine", "mine+tls": "mine_module:Mine"})
    with pytest.raises(UnknownScheme) as raised:
        load_driver(scheme)
    assert str(raised.value) == f"no driver for {scheme!r} is installed; did you mean {close!r}?"


def test_an_unknown_scheme_like_no_other_names_all_that_are_installed(install: Install) -> None:
    with pytest.raises(UnknownScheme, match="installed are: none;"):
        load_driver("qqqqq")
    install("zaqar-mine", GROUP, {"mine": "mine_module:Mine", "also": "mine_module:Mine"})
    with pytest.raises(UnknownScheme, match="installed are: also, mine; install the distribution that offers it"):
        load_driver("qqqqq")


@pytest.mark.parametrize(("scheme", "dist"), DISTRIBUTIONS.items())
def test_a_scheme_of_this_project_names_the_distribution_to_install(install: Install, scheme: str, dist: str) -> None:
    install("zaqar-mine", GROUP, {f"{scheme}x": "mine_module:Mine"})  # closer than any other, but not what is meant
    with pytest.raises(UnknownScheme, match=rf"no driver for '{re.escape(scheme)}' is installed; pip install {dist}$"):
        load_driver(scheme)


def test_a_misspelt_scheme_of_this_project_names_it_and_its_distribution(install: Install) -> None:
    with pytest.raises(UnknownScheme, match=r"did you mean 'rethinkdb' \(pip install zaqar-rethinkdb\)\?"):
        load_driver("rethinkbd")
    install("zaqar-rethinkdb", GROUP, {"rethinkdb": "mine_module:Mine"})
    with pytest.raises(UnknownScheme, match=r"did you mean 'rethinkdb'\?"):
        load_driver("rethinkbd")


@pytest.mark.parametrize("installed_too", [False, True])
@pytest.mark.parametrize(
    ("scheme", "close"),
    [("swift+https", "swift"), ("swift+tls", "swift"), ("swift+htp", "swift"), ("swfit+http", "swift+http")],
)
def test_nobody_is_led_to_a_scheme_without_tls_who_did_not_ask_for_it(
    install: Install, scheme: str, close: str, installed_too: bool
) -> None:
    if installed_too:
        install("zaqar-swift", GROUP, {"swift": "mine_module:Mine", "swift+http": "mine_module:Mine"})
    with pytest.raises(UnknownScheme) as raised:
        load_driver(scheme)
    how = "" if installed_too else " (pip install zaqar-swift)"
    assert str(raised.value) == f"no driver for {scheme!r} is installed; did you mean {close!r}{how}?"


@pytest.mark.parametrize(
    ("source", "cause", "advice"),
    [
        ("import no_such_module_anywhere", ModuleNotFoundError, "install 'no_such_module_anywhere', or reinstall"),
        ("from json import no_such_name", ImportError, "has a version that does not fit: reinstall zaqar-mine"),
        ("1 / 0", ZeroDivisionError, "this is an error in zaqar-mine: report it to its authors"),
        ("class Mine(", SyntaxError, "this is an error in zaqar-mine"),
        ("", AttributeError, "this is an error in zaqar-mine"),
        ("import sys; sys.exit(3)", SystemExit, "failed with SystemExit: 3; this is an error in zaqar-mine"),
        ("raise GeneratorExit", GeneratorExit, "this is an error in zaqar-mine"),
        ("raise BaseException('stop')", BaseException, "failed with BaseException: stop; this is an error in"),
    ],
    ids=["module", "name", "error", "syntax", "attribute", "exit", "generator", "base"],
)
def test_a_driver_that_cannot_be_imported_is_broken_with_its_cause_chained(
    install: Install, source: str, cause: type[BaseException], advice: str
) -> None:
    install("zaqar-mine", GROUP, {"mine": "mine_module:Mine"}, mine_module=source)
    for _ in range(2):  # a failed import leaves nothing behind
        with pytest.raises(BrokenDriver, match=advice) as raised:
            load_driver("mine")
        assert type(raised.value.__cause__) is cause
        assert "(zaqar-mine) but importing mine_module:Mine failed with" in str(raised.value)


@pytest.mark.parametrize("name", ["Other", "instance"])
def test_what_is_no_driver_class_is_broken(install: Install, name: str) -> None:
    install("zaqar-mine", GROUP, {"mine": f"mine_module:{name}"}, mine_module=driver())
    with pytest.raises(BrokenDriver, match=f"zaqar-mine offers mine_module:{name} for 'mine', which is not a subclass"):
        load_driver("mine")


@pytest.mark.parametrize(("contract", "name"), [(2, "Mine"), (0, "Mine"), ("'1'", "Mine"), (None, "Undeclared")])
def test_a_driver_of_another_contract_names_both_versions(install: Install, contract: object, name: str) -> None:
    install("zaqar-mine", GROUP, {"mine": f"mine_module:{name}"}, mine_module=driver(contract))
    with pytest.raises(ContractMismatch, match=rf"\(zaqar-mine\) speaks contract {contract}, this zaqar-core speaks 1"):
        load_driver("mine")


def test_two_distributions_of_one_scheme_are_named_and_neither_is_imported(install: Install) -> None:
    install("zaqar-b", GROUP, {"mine": "b_module:Mine", "fine": "b_module:Mine"}, b_module=driver())
    install("zaqar-a", GROUP, {"mine": "a_module:Mine"}, a_module=driver())
    with pytest.raises(AmbiguousScheme, match="zaqar-a and zaqar-b both offer a driver for 'mine'; uninstall all but"):
        load_driver("mine")
    assert not {"a_module", "b_module"} & set(sys.modules)
    assert load_driver("fine").__module__ == "b_module"


def test_an_interrupt_while_a_driver_is_imported_is_the_users(install: Install) -> None:
    install("zaqar-mine", GROUP, {"mine": "mine_module:Mine"}, mine_module="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_driver("mine")


def test_an_entry_point_of_no_distribution_is_named_by_its_package() -> None:
    assert owner(EntryPoint("mine", "package.module:Mine", GROUP)) == "package"
    assert owner(EntryPoint("mine", "", GROUP)) == "mine"


@pytest.mark.parametrize(
    "value", ["", ":", "no module:Mine", "mine_module:", "mine_module", "mine_module:Mine.no", "é:è"]
)
def test_an_entry_point_of_an_odd_value_is_broken(install: Install, value: str) -> None:
    install("zaqar-mine", GROUP, {"mine": value}, mine_module=driver())
    with pytest.raises(BrokenDriver, match="zaqar-mine"):
        load_driver("mine")


@pytest.mark.parametrize(
    "files",
    [
        {"METADATA": b"Name: other\n", "entry_points.txt": b"\xff\xfe"},
        {"METADATA": b"Name: other\n", "entry_points.txt": f"[{GROUP}]\nno equals sign".encode()},
        {"entry_points.txt": f"[{GROUP}]\nother = other:Other".encode()},
        {"METADATA": b"\xff\xff", "entry_points.txt": f"[{GROUP}]\nother = other:Other".encode()},
        {"METADATA": b"", "entry_points.txt": f"[{GROUP}]\nother = other:Other".encode()},
        {},
    ],
    ids=["no text", "no entries", "no metadata", "metadata is no text", "empty metadata", "empty"],
)
def test_a_distribution_that_is_damaged_hides_no_other(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture, files: dict[str, bytes]
) -> None:
    damaged = tmp_path / "aaa_other-1.0.dist-info"
    damaged.mkdir()
    for name, data in files.items():
        (damaged / name).write_bytes(data)
    install("zaqar-mine", GROUP, {"mine": "mine_module:Mine"}, mine_module=driver())
    assert load_driver("mine").__name__ == "Mine"
    entries = installed()
    assert "mine" in entries
    if "other" in entries:
        assert "other" in owner(entries["other"][0])
        assert version(entries["other"][0]) == "unknown"
    else:
        assert not files or ("aaa_other" in caplog.text and "reinstall it" in caplog.text)
