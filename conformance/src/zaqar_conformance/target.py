"""A target: how to start, hurt and stop the real datastore that a driver is checked against."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

from zaqar_conformance.check import NotRun
from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import Server
from zaqar_core.contract import Driver, QueueKey
from zaqar_core.registry import DISTRIBUTIONS
from zaqar_core.uri import Uri

GROUP = "zaqar_conformance.targets"
"""The entry-point group: one name a cell of the matrix (``redis``, ``redis-cluster``); the value a ``Target`` class."""


class Target(ABC):
    """One real datastore of the suite's own. The class is made without arguments, once for each server that is needed.

    What a target cannot do stays as it is here and raises ``NotRun``: the checks that need it are then not run.
    """

    name: ClassVar[str] = ""
    """What ``zaqar-conformance run`` calls it."""
    scheme: ClassVar[str] = ""
    """The URI scheme of the driver under test."""
    embedded: ClassVar[bool] = False
    """No server: the processes that use the driver are the datastore."""
    replicated: ClassVar[bool] = False
    """There are replicas, and ``fail_over`` promotes one."""
    reference: ClassVar[bool] = False
    """The reference driver: what the core alone promises is proven on this one."""
    disposable: ClassVar[bool] = True
    """The suite may kill it, and start another."""
    depth: ClassVar[int] = 100_000
    """How many messages "many ahead" is. Lower it only where filling a queue takes hours, and say why."""
    check_limit: ClassVar[float] = 600.0
    """A check that takes longer, in seconds, is given up; many at once within it may take a tenth of that."""
    call_timeout: ClassVar[float] = 10.0
    """The ``timeout`` that checks connect with, in seconds."""
    at_once: ClassVar[int] = 4
    """So many of the checks that do little but wait run at the same time, each on a datastore of its own."""
    one_connection: ClassVar[Mapping[str, Any]] = {}
    """Options with which a client has no more than one connection, so that one that is lost is missed immediately."""
    known_failures: ClassVar[Path | None] = None
    """The ``known_failures.toml`` of the driver, if something is known to fail."""
    control: str | None = None
    """For a driver that keeps no records: the URI of another backend's control plane, known once it is started."""

    @abstractmethod
    def start(self, workspace: Path) -> str:
        """Start the datastore, keep its files in the directory ``workspace``, and return the URI to connect to.

        Returns once it takes connections. Called again it returns the same URI. Raises with a remedy if it cannot.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop the datastore and all it started. Never started is fine, so is twice, killed or paused."""

    def fresh(self) -> Target:
        """Another target of the same kind, not started: a server of its own for a destructive check."""
        return type(self)()

    # --- For destructive checks: on a server of their own ---------------------------------------------

    def restart(self) -> None:
        """Start the datastore again with its data after ``kill``, or stop it in an orderly way and start it again."""
        raise NotRun(f"the target {self.name} cannot restart its datastore")

    def kill(self) -> None:
        """``kill -9`` every process of the datastore."""
        raise NotRun(f"the target {self.name} cannot kill its datastore")

    def pause(self) -> None:
        """Stop the datastore from answering while its connections stay open (SIGSTOP)."""
        raise NotRun(f"the target {self.name} cannot pause its datastore")

    def resume(self) -> None:
        """End ``pause``."""
        raise NotRun(f"the target {self.name} cannot resume its datastore")

    def fail_over(self) -> None:
        """Kill the primary and return once a replica is promoted and takes writes."""
        raise NotRun(f"the target {self.name} has no replica to promote")

    @contextmanager
    def blocked(self, uri: str) -> Iterator[None]:
        """While this lasts the datastore at ``uri`` serves nobody else: paused, or its write lock is held."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def move_clock(self, seconds: float) -> None:
        """Put the datastore's clock so far ahead of the true time; 0 corrects it. The clock goes on running."""
        raise NotRun(f"the target {self.name} cannot move its datastore's clock")

    # --- What is on the wire ---------------------------------------------------------------------------

    def proxied(self, uri: str) -> tuple[Proxy, str]:
        """A proxy, not yet entered, before the datastore at ``uri``, and the URI that leads through it.

        Every connection of a client has to go through it, or what it counts is too little.
        """
        if self.embedded:
            raise NotRun("the backend is in the client's process, so there are none")
        raise NotRun(f"the target {self.name} has no way to put a proxy before its datastore")

    @contextmanager
    def slowed(self, uri: str) -> Iterator[tuple[str, Callable[[float], None]]]:
        """A URI of the datastore at ``uri``, and a function that makes each of its replies take so much longer."""
        proxy, through = self.proxied(uri)
        with proxy:
            yield through, proxy.delay

    # --- What is known ----------------------------------------------------------------------------------

    def unreachable_uri(self) -> str:
        """A URI of this driver at which there is no datastore."""
        raise NotRun(f"the target {self.name} knows no URI of a datastore that is not there")

    def durability_gaps(self, driver: Driver) -> list[str]:
        """The settings, read from the datastore, with which a loss of power loses what was acknowledged; none: []."""
        raise NotRun(f"the target {self.name} cannot read how its datastore writes to disk")

    def on_one_server(self, one: QueueKey, other: QueueKey) -> bool:
        """Whether one server has both queues. Costs are compared only there: servers differ by more than depth does."""
        return True

    def traced_pids(self) -> Sequence[int]:
        """The processes of the datastore in whose system calls writes are seen to reach the disk; none: not traced.

        Of an embedded backend the suite traces its own client, which it knows.
        """
        return ()


class ServerTarget(Target):
    """A datastore of servers on loopback, all of which are killed, paused and started again at once.

    ``start`` puts them into ``servers`` and starts them.
    """

    def __init__(self) -> None:
        self.servers: list[Server] = []

    def stop(self) -> None:
        for server in self.servers:
            server.kill()

    def kill(self) -> None:
        for server in self.started():
            server.kill()

    def restart(self) -> None:
        for server in self.started():
            server.restart()

    def pause(self) -> None:
        for server in self.started():
            server.pause()

    def resume(self) -> None:
        for server in self.started():
            server.resume()

    def proxied(self, uri: str) -> tuple[Proxy, str]:
        """Of one server whose port is in the URI; clients of several may learn their addresses, and go past a proxy."""
        if len(self.servers) != 1:
            raise NotRun(f"the target {self.name} has not one server, before which a proxy could be put")
        proxy, port = Proxy(self.servers[0].port), f":{self.servers[0].port}"
        return proxy, f":{proxy.port}".join(uri.rsplit(port, 1))

    def traced_pids(self) -> Sequence[int]:
        return [pid for server in self.started() for pid in server.pids]

    def started(self) -> list[Server]:
        """The servers. Raises ``TargetError`` if ``start`` was not called."""
        if not self.servers:
            raise TargetError(f"the target {self.name} was not started")
        return self.servers


class UriTarget(Target):
    """A datastore that somebody else runs: it is used, and never hurt."""

    disposable = False

    def __init__(self, uri: str) -> None:
        self._uri = uri
        parsed = Uri.parse(uri)
        self.name = str(parsed)  # type: ignore[misc]  # of this instance: the URI, without its secrets
        self.scheme = parsed.scheme  # type: ignore[misc]

    def start(self, workspace: Path) -> str:
        return self._uri

    def stop(self) -> None:
        pass

    def fresh(self) -> Target:
        raise NotRun("a datastore given by its URI is never hurt; name a target to let the suite start its own")


class TargetError(Exception):
    """The target asked for cannot be used."""


class UnknownTarget(TargetError):
    """No installed distribution offers a target of that name."""


class BrokenTarget(TargetError):
    """The target is there, but importing or making it failed; the cause is chained."""


def find_target(text: str | None = None, path: str | None = None) -> Target:
    """The target meant by ``text`` (the name of an entry point, or a URI) or by ``path`` ("package.module:Class").

    Only the one asked for is imported. Raises ``InvalidUri``, ``UnknownTarget``, ``BrokenTarget``.
    """
    if path is not None:
        return _make(path, lambda: _import(path))
    if text is None:
        raise UnknownTarget("no target was named; give the name of one, a URI, or --target package.module:Class")
    if "://" in text:
        return UriTarget(text)
    found = list(entry_points(group=GROUP, name=text))
    if not found:
        known = target_names()
        close = difflib.get_close_matches(text, known, n=1)
        family = text.partition("-")[0]
        if family in DISTRIBUTIONS and family not in known:
            hint = f"pip install {DISTRIBUTIONS[family]}"
        else:
            hint = f"did you mean {close[0]!r}?" if close else f"installed are: {', '.join(known) or 'none'}"
        raise UnknownTarget(f"no target is called {text!r}; {hint} (or give a URI, or --target package.module:Class)")
    if len(found) > 1:
        owners = " and ".join(sorted(str(each.dist and each.dist.name) for each in found))
        raise BrokenTarget(
            f"target {text!r} is offered by {owners}; uninstall one, or use --target package.module:Class"
        )
    return _make(text, found[0].load)


def target_names() -> list[str]:
    """The names of the installed targets; none is imported."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def _import(path: str) -> Any:
    module, _, name = path.partition(":")
    if not (module and name):
        raise UnknownTarget(f"{path!r} is no target; write package.module:Class")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and what it imports is not
        hint = "is it installed, is its folder on PYTHONPATH?"
        raise UnknownTarget(f"there is no module {error.name} for the target {path}; {hint}") from None
    if not hasattr(found, name):
        close = difflib.get_close_matches(name, vars(found), n=1)
        hint = f"did you mean {module}:{close[0]}?" if close else "write package.module:Class"
        raise UnknownTarget(f"the module {module} has no {name!r}; {hint}")
    return getattr(found, name)


def _make(text: str, load: Any) -> Target:
    try:
        made = load()()
    except TargetError:
        raise
    except Exception as error:
        raise BrokenTarget(f"target {text} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(made, Target):
        raise BrokenTarget(f"target {text} is no zaqar_conformance.target.Target but {type(made).__qualname__}")
    return made
