"""Look for a program on which backend and model disagree, and make it short."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from tempfile import TemporaryDirectory
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase, configuration, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from zaqar_conformance.check import Undecided, Violation
from zaqar_conformance.env import Env
from zaqar_conformance.programs.steps import Sleep, Sofar, Source, Step
from zaqar_conformance.programs.world import CLIENTS, LISTS, Backend, Model, Raised, fresh
from zaqar_core import NewMessage

LENGTH: Final = 50
"""Steps of a program, those that do nothing among them."""
_SETTLED: Final = 0.4
"""The part of a step's time within which its operations have to be done, so that no moment is doubtful."""
_SHORTEST: Final = 0.06
"""Seconds: of a step, however fast the backend."""
_AT_ONCE: Final = 20
"""Programs that Hypothesis makes at a time: the first tenth of them is small."""
_SHORTENING: Final = 20.0
"""Seconds spent on making a failing program shorter."""


@dataclass(frozen=True)
class Failure:
    """A program up to the operation that the backend answered otherwise. ``done``: and whether the model raised."""

    done: Sequence[tuple[Source, bool]]
    got: Any
    expected: Any


class Search:
    """Programs of steps of one of these kinds at a time, that use ``names``, of a letter each.

    ``tidy``: statements that remove what programs leave behind.
    """

    def __init__(self, env: Env, kinds: Sequence[st.SearchStrategy[Step]], *, names: str, tidy: Sequence[str]) -> None:
        self._env = env
        self._kinds = kinds
        self._names = names
        self._tidy = tidy
        self._model = Model(env)
        self._backend = Backend(env)
        self._step = _SHORTEST
        self._failure: Failure | None = None
        self._missing: NotImplementedError | None = None
        self._deadline = 0.0
        self._agreed = self._too_slow = 0

    def run(self, requirement: str, *, seconds: float) -> None:
        """Search for so long. Raises ``Violation`` of the requirement with the shortest program found."""
        self._step = max(_SHORTEST, 100 * self._pace())
        self._deadline = time.monotonic() + seconds
        try:
            with _nothing_kept():
                self._draw()
        except _Over:
            pass
        except (_Disagree, HypothesisException, BaseExceptionGroup):
            if self._failure is None:  # it is not that the sides disagreed, or did so only at times
                raise
        if self._missing is not None:
            raise self._missing
        if self._failure is not None:
            raise Violation(requirement, shown(self._failure, self._names, self._step))
        if not self._agreed:
            raise Undecided(f"the machine was too slow for each of {self._too_slow} programs")
        slow = f", {self._too_slow} could not be judged on so slow a machine" if self._too_slow else ""
        self._env.note(f"{self._agreed} random programs agreed with the model{slow}")

    def _draw(self) -> None:
        """Try programs until ``_search`` raises."""
        for steps in cycle(self._kinds):
            program = st.lists(st.none() | steps, min_size=LENGTH, max_size=LENGTH)
            chosen = settings(
                max_examples=_AT_ONCE,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            )
            hypothesis.seed(self._env.rng.getrandbits(64))(chosen(given(program)(self._search)))()

    def _search(self, program: list[Step | None]) -> None:
        if time.monotonic() >= self._deadline:
            raise _Over
        try:
            failure = self._try(filter(None, program))
        except NotImplementedError as error:
            self._missing = error
            raise _Over from error
        if failure is not None:
            if self._failure is None:
                self._deadline = time.monotonic() + _SHORTENING
            self._failure = failure
            raise _Disagree

    def _try(self, program: Iterable[Step]) -> Failure | None:
        """Run it on both sides; None if they agree, or if the machine was too slow to tell."""
        names = fresh(*self._names)
        self._model.start(self._step, names)
        self._backend.start(self._step, names)
        try:
            return self._compare(program)
        finally:
            for statement in self._tidy:
                self._backend.perform(statement, "None")
                self._model.perform(statement, "None")

    def _compare(self, program: Iterable[Step]) -> Failure | None:
        sofar = Sofar(self._model.names)
        done: list[tuple[Source, bool]] = []
        for step in program:
            source = step.source(sofar)
            if source is None:
                continue
            if isinstance(step, Sleep):
                done.append((source, False))
                self._model.sleep(sofar.now * self._step)
                self._backend.sleep(sofar.now * self._step)
                continue
            expected = self._model.perform(*source)
            got = self._backend.perform(*source)
            done.append((source, isinstance(expected, Raised)))
            if sofar.timed and self._backend.elapsed() > (sofar.now + _SETTLED) * self._step:
                self._too_slow += 1
                return None
            if got != expected:
                return Failure(done, got, expected)
        self._agreed += 1
        return None

    def _pace(self) -> float:
        """Seconds that an operation takes here at best."""
        queue = self._env.queue()
        taken = []
        for _ in range(5):
            began = time.monotonic()
            self._env.storage.messages.post(queue, [NewMessage({}, ttl=60)])
            taken.append(time.monotonic() - began)
        return min(taken)


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """Without this Hypothesis would leave a folder of what it found in modules where the user happens to be."""
    before = vars(configuration).get("__hypothesis_home_directory")  # of a host that uses Hypothesis itself
    with TemporaryDirectory(prefix="zaqar-conformance-") as folder:
        configuration.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(before)


class _Disagree(Exception):
    """Tells Hypothesis that the program fails; ``Search`` keeps how."""


class _Over(BaseException):
    """Time is up."""


def shown(failure: Failure, names: str, step: float) -> str:
    """The program as a test to paste."""
    lines = [
        "import contextlib",
        "import time",
        "import pytest",
        "import zaqar_core",
        "from zaqar_core import NewMessage",
        "",
        f"STEP = {step:.3g}",
    ]
    text = "\n".join(source.do for source, _ in failure.done)
    lines += [f"{each} = []" for each in LISTS if re.search(rf"\b{each}\b", text)]
    lines += [f'{each} = "{each}"' for each in names if re.search(rf"\b{each}\b", text)]
    for name, (project, client) in CLIENTS.items():
        if f"{name}." in text:
            options = f'project="test{project}", client_id="{client}", metadata_ttl=0'
            lines.append(f"{name} = zaqar_core.connect(URI, {options})")
    *before, last = failure.done
    lines += [_suppressed(source.do) if raised else source.do for source, raised in before]
    if isinstance(failure.expected, Raised):
        lines += [
            f"with pytest.raises(zaqar_core.errors.{failure.expected}):  # got {failure.got!r}",
            f"    {last[0].do}",
        ]
    else:
        lines += [last[0].do, f"assert {last[0].see} == {failure.expected!r}  # got {failure.got!r}"]
    return "a program that the model answers otherwise:\n" + textwrap.indent("\n".join(lines), "    ")


def _suppressed(statement: str) -> str:
    return f"with contextlib.suppress(zaqar_core.ZaqarError):\n    {statement}"
