"""Finding drivers: what is installed, what is wrong with it, and the two planes."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._installed import installation
from zaqar_conformance.checks._support import error_text, log_texts
from zaqar_conformance.env import Env
from zaqar_core import NewMessage, Storage, connect
from zaqar_core.contract import Driver, new_id
from zaqar_core.errors import (
    AmbiguousScheme,
    BrokenDriver,
    CodecError,
    ContractMismatch,
    DriverError,
    QueueDoesNotExist,
    StorageUnavailable,
    UnknownScheme,
)

_REFERENCE = "zaqar_conformance.reference:ReferenceDriver"

_COUNTING = """
from zaqar_conformance.reference import ReferenceDriver

opened = []
closed = []

class Counting(ReferenceDriver):
    @classmethod
    def open(cls, uri, **times):
        driver = super().open(uri, **times)
        opened.append(driver)
        return driver

    def close(self):
        closed.append(self)
        super().close()
"""

_OWN = {"sqlite": "zaqar-sqlite", "redis": "zaqar-redis", "swift": "zaqar-swift", "rethinkdb": "zaqar-rethinkdb"}


@check("REG-001")
def registry_unknown_scheme_names_the_closest(env: Env) -> None:
    """An unknown scheme raises ``UnknownScheme`` with the closest scheme that is installed, or with all of them."""
    with installation() as installed:
        installed.add("a-queue", {"zebraqueue": _REFERENCE, "zebraqueue+tls": _REFERENCE})
        installed.add("b-queue", {"tapir": _REFERENCE})
        for scheme, closest in (("zebraqeue", "zebraqueue"), ("tapirs", "tapir"), ("zebraqueue-tls", "zebraqueue+tls")):
            text = _unknown(scheme)
            ensure(
                repr(closest) in text, "REG-001", f"connect to {scheme}://: the error does not name {closest!r}: {text}"
            )
        text = _unknown("xxxxxxxx")
        named = all(known in text for known in ("zebraqueue", "zebraqueue+tls", "tapir"))
        ensure(named, "REG-001", f"connect to xxxxxxxx://: the error names not all that is installed: {text}")


@check("REG-001")
def registry_own_scheme_names_its_distribution(env: Env) -> None:
    """A scheme of this project that is not installed names the distribution to install, misspelt too."""
    with installation() as installed:
        for others in (False, True):
            if others:
                installed.add("a-queue", {"zebraqueue": _REFERENCE})
            for scheme, distribution in _OWN.items():
                for spelt in (scheme, scheme[:-1], f"{scheme}s"):
                    text = _unknown(spelt)
                    advice = f"pip install {distribution}"
                    ensure(advice in text, "REG-001", f"connect to {spelt}://: the error lacks {advice!r}: {text}")


@check("REG-001")
def registry_unknown_scheme_with_nothing_installed(env: Env) -> None:
    """With no driver installed at all an unknown scheme still says so and what to do."""
    with installation():
        text = _unknown("xxxxxxxx")
        ensure(
            "none" in text and "install" in text, "REG-001", f"the error does not say that none is installed: {text}"
        )


@check("REG-002")
def registry_broken_driver_keeps_its_cause(env: Env) -> None:
    """A driver whose import fails raises ``BrokenDriver`` with the cause chained, its distribution and module named."""
    for source, cause, advice in (
        ("import no_such_module_anywhere", ModuleNotFoundError, "no_such_module_anywhere"),
        ("from json import no_such_name_anywhere", ImportError, "reinstall"),
        ("raise RuntimeError('broken on purpose')", RuntimeError, "broken on purpose"),
        ("def broken(:", SyntaxError, "report"),
        ("", AttributeError, "report"),
    ):
        with installation() as installed:
            module = installed.add("broken-queue", {"broken": "{module}:Missing"}, source=source)
            raised = _fails(BrokenDriver, "REG-002", "broken", "broken-queue")
            ensure(
                type(raised.__cause__) is cause, "REG-002", f"the cause is {raised.__cause__!r}, not a {cause.__name__}"
            )
            text = str(raised)
            ensure(advice in text, "REG-002", f"the error of a {cause.__name__} does not say {advice!r}: {text}")
            ensure(module in text, "REG-002", f"the error does not name the module {module}: {text}")


@check("REG-002")
def registry_no_driver_at_all(env: Env) -> None:
    """An entry point that is no driver class raises ``BrokenDriver`` naming its distribution."""
    with installation() as installed:
        source = "class Other: contract = 1\ndef function(): ...\nNone_ = None\n"
        entries = {
            "other": "{module}:Other",
            "function": "{module}:function",
            "nothing": "{module}:None_",
            "whole": "{module}",
        }
        installed.add("odd-queue", entries, source=source)
        for scheme in entries:
            _fails(BrokenDriver, "REG-002", scheme, "odd-queue")


@check("REG-002")
def registry_broken_driver_harms_no_other(env: Env) -> None:
    """Beside a broken driver the others go on working: only the scheme asked for is imported."""
    with installation() as installed:
        broken = installed.add("broken-queue", {"broken": "{module}:Driver"}, source="raise RuntimeError('broken')")
        idle = installed.add("idle-queue", {"idle": "{module}:Driver"}, source="")
        installed.add("fine-queue", {"fine": _REFERENCE})
        for _ in range(2):
            with connect(f"fine://{new_id()}") as storage:
                storage.messages.post("q", [NewMessage(1)])
                ensure_equal(storage.messages.stats("q").total, 1, "REG-002", "messages posted beside a broken driver")
            for module, name in ((broken, "broken"), (idle, "idle")):
                ensure(
                    not installed.imported(module), "REG-002", f"connecting to fine:// imported the driver of {name}://"
                )
            _fails(BrokenDriver, "REG-002", "broken", "broken-queue")


@check("REG-003")
def registry_other_contract_version(env: Env) -> None:
    """A driver of another contract version, or of none, raises ``ContractMismatch`` before it is opened."""
    source = "from zaqar_conformance.reference import ReferenceDriver\nopened = []\n"
    versions = {"newer": "2", "older": "0", "text": "'1'", "none": "None"}
    for name, version in versions.items():
        source += f"class {name}(ReferenceDriver):\n    contract = {version}\n"
        source += "    @classmethod\n    def open(cls, uri, **times):\n        opened.append(uri)\n"
    with installation() as installed:
        module = installed.add("other-queue", {name: f"{{module}}:{name}" for name in versions}, source=source)
        for name, version in versions.items():
            text = str(_fails(ContractMismatch, "REG-003", name, "other-queue"))
            ensure(version in text and "1" in text, "REG-003", f"the error does not name both versions: {text}")
        opened = _module(module).opened
        ensure_equal(opened, [], "REG-003", "drivers of other contract versions that were opened")


@check("REG-003")
def registry_two_distributions_of_one_scheme(env: Env) -> None:
    """Two distributions that claim one scheme raise ``AmbiguousScheme`` naming both; neither is imported."""
    with installation() as installed:
        modules = [
            installed.add(name, {"twice": "{module}:Driver"}, source="") for name in ("first-queue", "second-queue")
        ]
        installed.add("third-queue", {"once": _REFERENCE})
        text = str(_fails(AmbiguousScheme, "REG-003", "twice", "first-queue"))
        ensure("second-queue" in text, "REG-003", f"the error does not name the second distribution: {text}")
        for module in modules:
            ensure(not installed.imported(module), "REG-003", "a driver of a scheme claimed twice was imported")
        connect(f"once://{new_id()}").close()


@check("REG-003")
def registry_one_distribution_met_twice(env: Env) -> None:
    """One distribution with two entry points, for two schemes, is no clash."""
    with installation() as installed:
        installed.add("one-queue", {"one": _REFERENCE, "one+tls": _REFERENCE})
        for scheme in ("one", "one+tls"):
            connect(f"{scheme}://{new_id()}").close()


_OPENING = """
from zaqar_conformance.reference import ReferenceDriver
from zaqar_core.errors import StorageUnavailable

class {name}(ReferenceDriver):
    @classmethod
    def open(cls, uri, **times):
        secret = uri.password
        {source}
"""


@check("REG-005")
def registry_a_driver_that_fails_to_open(env: Env) -> None:
    """Whatever ``open`` raises is an error of this project with its cause, and none of their texts shows a secret."""
    secret = f"hunter2{new_id()}"
    sources = {
        "text": ("raise RuntimeError(f'no login with {secret}')", BrokenDriver),
        "argument": ("raise KeyError(secret)", BrokenDriver),
        "file": ("raise OSError(5, 'no', secret)", BrokenDriver),
        "cause": ("raise ValueError('no') from RuntimeError(uri.authority)", BrokenDriver),
        "nothing": ("return None", BrokenDriver),
        "number": ("return int(secret)", BrokenDriver),
        "group": ("raise ExceptionGroup('all', [ValueError('no'), KeyError(secret)])", BrokenDriver),
        "ours": ("raise StorageUnavailable(f'no {secret}') from OSError(uri.authority)", StorageUnavailable),
    }
    source = "".join(_OPENING.replace("{name}", name).replace("{source}", each) for name, (each, _) in sources.items())
    with installation() as installed:
        installed.add("failing-queue", {name: f"{{module}}:{name}" for name in sources}, source=source)
        installed.add("fine-queue", {"fine": _REFERENCE})
        with connect(f"fine://{new_id()}") as storage:
            for name, (_, error) in sources.items():
                uri = f"{name}://u:{secret}@h"
                for what, call in (
                    ("connect", partial(connect, uri)),
                    ("control", partial(connect, f"fine://{new_id()}", control=uri)),
                    ("a pool", partial(storage.pools.create, "p", uri=uri)),
                ):
                    raised = ensure_raises(error, "REG-005", f"{what} of a driver whose open fails ({name})", call)
                    ensure(raised.__cause__ is not None, "REG-005", f"{what}: {raised!r} has no cause")
                    ensure(secret not in error_text(raised), "REG-005", f"{what}: the error shows it: {raised}")


@check("REG-006")
def registry_imports_that_raise_no_exception(env: Env) -> None:
    """An import that would end the process breaks what is imported; the user's interrupt passes."""
    for source in ("raise SystemExit(3)", "raise GeneratorExit", "class Own(BaseException): ...\nraise Own"):
        with installation() as installed:
            installed.add("broken-queue", {"broken": "{module}:Driver"}, source=source)
            installed.add("broken-codec", {"broken": "{module}:Codec"}, source=source, group="zaqar_core.codecs")
            installed.add("fine-queue", {"fine": _REFERENCE})
            raised = _fails(BrokenDriver, "REG-006", "broken", "broken-queue")
            ensure(raised.__cause__ is not None, "REG-006", f"the cause of {source!r} is not chained")
            call = partial(connect, f"fine://{new_id()}", codecs=["broken"])
            ensure_raises(CodecError, "REG-006", f"a codec whose import does {source!r}", call)
            connect(f"fine://{new_id()}").close()
    with installation() as installed:
        installed.add("stopped-queue", {"stopped": "{module}:Driver"}, source="raise KeyboardInterrupt")
        try:
            connect("stopped://h")
        except KeyboardInterrupt:
            return
        ensure(False, "REG-006", "an interrupt while a driver was imported did not reach the caller")


@check("REG-006")
def registry_damaged_metadata_hides_no_other(env: Env) -> None:
    """A distribution whose metadata cannot be read does not stop the use of another one."""
    for files in (
        {"entry_points.txt": b"\xff\xfe"},
        {"entry_points.txt": b"[zaqar_core.drivers]\nno equals sign\n"},
        {"METADATA": b"\xff", "entry_points.txt": b"[zaqar_core.drivers]\nodd = odd:Odd\n"},
        {"entry_points.txt": b"[zaqar_core.drivers]\nodd = \n"},
    ):
        with installation() as installed, log_texts() as logged:
            installed.add("fine-queue", {"fine": _REFERENCE})
            installed.damage("a-queue", files)
            connect(f"fine://{new_id()}").close()
            raised = ensure_raises(
                DriverError, "REG-006", "connect to what a damaged one offers", partial(connect, "odd://h")
            )
        named = any("a_queue" in text for text in logged) or not isinstance(raised, UnknownScheme)
        ensure(named, "REG-006", f"what was left out of {files} is in no log: {logged}")


@check("REG-004")
def planes_in_two_backends(env: Env) -> None:
    """With ``control`` queues and their metadata live there, and messages and claims in the first backend."""
    data, control = f"memory://{new_id()}", f"memory://{new_id()}"
    both = env.connect(uri=data, control=control)
    queue = env.queue()
    both.queues.create(queue, {"_default_message_ttl": 77})
    [message_id] = both.messages.post(queue, [NewMessage("here")])
    ensure_equal(both.messages.get(queue, message_id).ttl, 77.0, "REG-004", "ttl by the metadata of the control plane")
    data_only, control_only = env.connect(uri=data), env.connect(uri=control)
    ensure_equal(data_only.queues.count(), 0, "REG-004", "queues registered in the data plane")
    ensure_equal(
        control_only.queues.get_metadata(queue), {"_default_message_ttl": 77}, "REG-004", "metadata in the control"
    )
    seen = [message.id for message in data_only.messages.list(queue).items]
    ensure_equal(seen, [message_id], "REG-004", "messages in the data plane")
    ensure_equal(control_only.messages.stats(queue).total, 0, "REG-004", "messages in the control plane")
    ensure_equal(both.queues.stats(queue).free, 1, "REG-004", "queues.stats over both planes")
    ensure_raises(QueueDoesNotExist, "REG-004", "stats in the data plane alone", lambda: data_only.queues.stats(queue))
    both.queues.delete(queue)
    ensure_equal(data_only.messages.stats(queue).total, 0, "REG-004", "messages left after deleting over both planes")
    ensure_equal(control_only.queues.exists(queue), False, "REG-004", "exists after deleting over both planes")


@check("REG-004")
def planes_on_one_uri_open_one_driver(env: Env) -> None:
    """Both planes on one URI open and close one driver, however the URI comes; on two, two."""
    one, other = f"counting://{new_id()}", f"counting://{new_id()}"
    cases: list[tuple[str, dict[str, object], int]] = [
        ("no control", {}, 1),
        ("the same URI", {"control": one}, 1),
        ("the same URI with its option as a keyword", {"control": f"{one}?create=true", "create": True}, 1),
        ("another URI", {"control": other}, 2),
    ]
    with installation() as installed:
        module = installed.add("counting-queue", {"counting": "{module}:Counting"}, source=_COUNTING)
        for what, options, expected in cases:
            before = len(_module(module).opened) if installed.imported(module) else 0
            with _connect(one, options) as storage:
                opened = len(_module(module).opened) - before
                ensure_equal(opened, expected, "REG-004", f"drivers opened with {what} as the control plane")
                same = storage.driver is storage.control
                ensure_equal(same, expected == 1, "REG-004", f"whether both planes are one driver with {what}")
            ensure_equal(
                {id(driver) for driver in _module(module).closed},
                {id(driver) for driver in _module(module).opened},
                "REG-004",
                f"drivers closed, against those opened, with {what} as the control plane",
            )


@check("REG-004")
def planes_close_when_the_second_does_not_open(env: Env) -> None:
    """If the control plane cannot be opened, the error says so and the data plane does not stay open."""
    with installation() as installed:
        module = installed.add("counting-queue", {"counting": "{module}:Counting"}, source=_COUNTING)
        for control in (f"counting://{new_id()}?create=false", f"nosuch://{new_id()}"):
            with suppress(StorageUnavailable, DriverError):
                _connect(f"counting://{new_id()}", {"control": control}).close()
                ensure(False, "REG-004", f"connect with the control plane {control}, which is not there: it opened")
            opened, closed = _module(module).opened, _module(module).closed
            ensure(
                opened and len(opened) == len(closed), "REG-004", f"{len(opened)} drivers opened, {len(closed)} closed"
            )


def _unknown(scheme: str) -> str:
    raised = ensure_raises(UnknownScheme, "REG-001", f"connect to {scheme}://", lambda: connect(f"{scheme}://host"))
    text = str(raised)
    ensure(isinstance(raised, DriverError), "REG-001", f"UnknownScheme is no DriverError: {raised!r}")
    ensure(repr(scheme) in text, "REG-001", f"the error does not name the scheme {scheme!r}: {text}")
    return text


def _fails(error: type[DriverError], requirement: str, scheme: str, distribution: str) -> Exception:
    raised = ensure_raises(error, requirement, f"connect to {scheme}://", lambda: connect(f"{scheme}://host"))
    for name in (scheme, distribution):
        ensure(name in str(raised), requirement, f"connect to {scheme}://: the error does not name {name!r}: {raised}")
    return raised


def _connect(uri: str, options: dict[str, object]) -> Storage:
    return connect(uri, **options)  # type: ignore[arg-type]  # some are connect's own, some the driver's


class _Counters:
    """What the module of counting drivers counts."""

    opened: list[Driver]
    closed: list[Driver]


def _module(name: str) -> _Counters:
    from importlib import import_module

    module: object = import_module(name)
    return module  # type: ignore[return-value]
