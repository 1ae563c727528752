"""One side of a program's run: its clients, and what its names stand for. The model keeps a time of its own."""

from __future__ import annotations

import time
from typing import Any

from zaqar_conformance.env import Env
from zaqar_conformance.reference import ReferenceDriver
from zaqar_core import NewMessage, Storage
from zaqar_core.contract import new_id
from zaqar_core.errors import ZaqarError

CLIENTS = {"one": ("", "one"), "two": ("", "two"), "other": ("-other", "other")}
"""What a program calls its clients: the end of the project, and the client id. Two share a project."""

LISTS = ("ids", "claims", "pages", "subscriptions")
"""What a program collects."""


class Raised(str):
    """The name of an error, in place of a result."""

    __slots__ = ()


class World:
    """Clients by their names in programs, and the names that a program gives to what it makes."""

    answers: type[Exception] = ZaqarError
    """The errors that are an answer. Of the model no other is: it would be the program's own fault, on both sides."""

    def __init__(self, clients: dict[str, Storage]) -> None:
        self._clients = clients
        self.names: dict[str, Any] = {}

    def start(self, step: float, names: dict[str, str]) -> None:
        """Begin a program. ``step``: seconds; ``names``: of queues and the like, fresh ones."""
        self.names = {
            **self._clients,
            **names,
            "NewMessage": NewMessage,
            "STEP": step,
            **{name: [] for name in LISTS},
        }

    def sleep(self, until: float) -> None:
        """Let time pass until so many seconds after the start."""
        raise NotImplementedError

    def perform(self, do: str, see: str) -> Any:
        """Run a statement and look at what came of it."""
        try:
            exec(do, self.names)  # noqa: S102 - it is text, so that what a failure shows is what ran
            return eval(see, self.names)  # noqa: S307
        except NotImplementedError:
            raise  # a method that is yet to be written
        except self.answers as error:
            return Raised(type(error).__name__)


class Backend(World):
    """The backend under test, in real time."""

    answers = Exception

    def __init__(self, env: Env) -> None:
        super().__init__(
            {
                name: env.connect(project=env.project + project, client_id=client)
                for name, (project, client) in CLIENTS.items()
            }
        )
        self._began = 0.0

    def start(self, step: float, names: dict[str, str]) -> None:
        super().start(step, names)
        self._began = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def sleep(self, until: float) -> None:
        time.sleep(max(0.0, until - self.elapsed()))


class Model(World):
    """The reference driver, whose time passes when the program says so."""

    def __init__(self, env: Env) -> None:
        self._now = self._start = 1_000_000
        without = ",".join(sorted(ReferenceDriver.possible_capabilities - env.storage.capabilities))
        uri = f"memory://{new_id()}?without={without}"
        clients = {
            name: env.connect(uri=uri, project=project, client_id=client) for name, (project, client) in CLIENTS.items()
        }
        for client in clients.values():
            driver = client.driver
            assert isinstance(driver, ReferenceDriver)
            driver.state.now = lambda: self._now
        super().__init__(clients)

    def start(self, step: float, names: dict[str, str]) -> None:
        super().start(step, names)
        self._start = self._now

    def sleep(self, until: float) -> None:
        self._now = self._start + round(until * 1000)


def fresh(*names: str) -> dict[str, str]:
    """For each name of a program a name that nothing has yet."""
    beginning = new_id()[:10]
    return {name: f"{beginning}-{name}" for name in names}
