"""Random programs find wrong drivers, and what they show is a test that fails there and passes on the model."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st

from zaqar_conformance.check import Violation
from zaqar_conformance.env import Env
from zaqar_conformance.programs import draw
from zaqar_conformance.programs.search import Search
from zaqar_conformance.programs.steps import Step
from zaqar_conformance.reference import ReferenceDriver
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_conformance.reference.state import State
from zaqar_conformance.reference.target import MemoryTarget
from zaqar_core.contract import EncodedMessage, QueueKey, Space, StoredPage, new_id
from zaqar_core.errors import ZaqarError


class Jumps(ReferenceMessages):
    """A marker counts messages, so that what was deleted before it makes the listing jump."""

    def list(self, queue: QueueKey, *, marker: str | None, limit: int, **given: Any) -> StoredPage:
        seen = int(marker.split("-")[0]) if marker else 0
        page = super().list(queue, marker=None, limit=10_000, **given)
        items = page.items[seen : seen + limit]
        return StoredPage(items, f"{seen + len(items)}-0", len(page.items) > seen + limit)


class Revives(ReferenceClaims):
    """A release gives messages a new place."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        held = self._state.queue(queue, self._state.now())
        for item in held.items.values():
            if item.claim_id == claim_id:
                item.order = self._state.next()
        super().release(queue, claim_id, message_ids=message_ids, delay=delay)


class Lingers(ReferenceMessages):
    """A message lives half a second longer than it was told."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        return super().post(queue, [each._replace(ttl=each.ttl + 0.5) for each in messages], client_id=client_id)


class Overwrites(ReferenceRecords):
    """An insert where there is a record says None, and stores its value all the same."""

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        before = self.get(space, key)
        if before is None:
            return super().insert(space, key, value, nonce=nonce, ttl=ttl)
        self.replace(space, key, value, nonce=nonce, version=before.version)
        return None


def wrong(monkeypatch: pytest.MonkeyPatch, part: str, kind: type) -> str:
    """A URI of the reference driver with that part of that kind."""

    class Wrong(ReferenceDriver):
        possible_capabilities: ClassVar[frozenset[Any]] = ReferenceDriver.possible_capabilities

        def __init__(self, state: State) -> None:
            super().__init__(state)
            setattr(self, part, kind(state))

    def load(scheme: str) -> type[ReferenceDriver]:
        return Wrong if scheme == "wrong" else ReferenceDriver

    monkeypatch.setattr("zaqar_core.storage.load_driver", load)
    return f"wrong://{new_id()}"


def program_found(env: Env, steps: st.SearchStrategy[Step], names: str) -> str:
    """The program that shows what is wrong; the search ends as soon as there is one."""
    try:
        with pytest.raises(Violation) as caught:
            Search(env, [steps], names=names, tidy=[]).run("MSG-031", seconds=100)
    finally:
        env.close()
    heading, _, program = caught.value.seen.partition("\n")
    assert heading == "a program that the model answers otherwise:"
    return textwrap.dedent(program)


@pytest.mark.parametrize(
    ("part", "kind", "draws", "names"),
    [
        ("messages", Jumps, draw.on_messages, "xy"),
        ("claims", Revives, draw.on_messages, "xy"),
        ("records", Overwrites, draw.on_records, "xypqfg"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_wrong_driver_is_found_and_shown_as_a_test(
    monkeypatch: pytest.MonkeyPatch, part: str, kind: type, draws: Any, names: str
) -> None:
    env = Env(MemoryTarget(), wrong(monkeypatch, part, kind), seed="1", depth=100)
    program = program_found(env, draws(env.storage.capabilities, timed=False), names)
    assert program.partition("connect(")[2].count("\n") <= 8, program
    assert fails(program, "wrong")
    assert not fails(program, "memory")


def test_what_time_should_have_ended_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Env(MemoryTarget(), wrong(monkeypatch, "messages", Lingers), seed="1", depth=100)
    program = program_found(env, draw.on_messages(env.storage.capabilities, timed=True), "xy")
    assert "time.sleep(" in program


def fails(program: str, scheme: str) -> bool:
    """Whether an assertion of the program fails on a new store."""
    try:
        exec(program, {"URI": f"{scheme}://{new_id()}"})
    except (AssertionError, ZaqarError, pytest.fail.Exception):
        return True
    return False
