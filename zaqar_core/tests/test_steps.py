"""Operations of several steps, each failing at every step, before and after it took effect.

Any error but ``OutcomeUnknown`` means that nothing happened; after one that says it may be half done, the same call
again finishes it. The control plane's own operations have these tests in ``test_control_plane``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zaqar_core import NewMessage, Storage, connect
from zaqar_core.contract import new_id
from zaqar_core.errors import OutcomeUnknown, ZaqarError

sys.path.insert(0, str(Path(__file__).parent))
from faults import WAYS, faulty

Operation = Callable[[Storage], Any]
View = dict[str, Any]


def prepare(storage: Storage) -> None:
    """A queue ``full`` with a message that is claimed, two that are not, and three subscriptions."""
    storage.queues.create("full", {"kept": 1, "old": 2})
    storage.messages.post("full", [NewMessage(n) for n in range(3)])
    storage.claims.create("full", ttl=600, limit=1)
    for n in range(3):
        storage.subscriptions.create("full", subscriber=f"https://example.org/{n}")


def subscription(storage: Storage) -> str:
    return storage.subscriptions.get_with_subscriber("full", "https://example.org/0").id


def claim_id(storage: Storage) -> str:
    return str(storage.messages.list("full", include_claimed=True).items[0].claim_id)


def view(storage: Storage) -> View:
    """All that a client can see, but ids."""
    seen: View = {}
    for queue in storage.queues.list(detailed=True, limit=100).items:
        messages = storage.messages.list(queue.name, include_claimed=True, limit=100).items
        subscriptions = storage.subscriptions.list(queue.name, limit=100).items
        seen[queue.name] = (
            queue.metadata,
            [(message.body, message.claim_id is not None, message.claim_count) for message in messages],
            sorted((one.subscriber, str(one.options), one.confirmed) for one in subscriptions),
        )
    return seen


OPERATIONS: dict[str, Operation] = {
    "first post": lambda storage: storage.messages.post("new", [NewMessage("new", dedup_id="d")]),
    "create queue": lambda storage: storage.queues.create("new", {"a": 1}),
    "set metadata": lambda storage: storage.queues.set_metadata("full", {"a": 1}),
    "update metadata": lambda storage: storage.queues.update_metadata("full", {"new": 1}, remove=["old"]),
    "delete queue": lambda storage: storage.queues.delete("full"),
    "purge": lambda storage: storage.messages.purge("full"),
    "subscribe": lambda storage: storage.subscriptions.create("full", subscriber="https://example.org/new"),
    "change subscription": lambda storage: storage.subscriptions.update(
        "full", subscription(storage), options={"a": 1}
    ),
    "confirm subscription": lambda storage: storage.subscriptions.confirm("full", subscription(storage)),
    "delete subscription": lambda storage: [
        storage.subscriptions.delete("full", one.id)
        for one in storage.subscriptions.list("full").items
        if one.subscriber.endswith("/0")
    ],
    "release": lambda storage: storage.claims.delete("full", claim_id(storage)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_error_at_any_step_says_what_is_true(name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = OPERATIONS[name]
    uri = f"memory://{new_id()}"
    with connect(uri, metadata_ttl=0) as operator, faulty(uri, monkeypatch, metadata_ttl=0) as (client, faults):
        prepare(operator)
        operation(client)
        done, calls = view(operator), len(faults.calls)
    for number in range(1, calls + 1):
        uri = f"memory://{new_id()}"
        with connect(uri, metadata_ttl=0) as operator, faulty(uri, monkeypatch, metadata_ttl=0) as (client, faults):
            prepare(operator)
            before = view(operator)
            faults.fail(number, way)
            error = None
            try:
                operation(client)
            except ZaqarError as raised:
                error = raised
            where = f"call {number}, {faults.calls}: {error!r}"
            after = view(operator)
            if error is None:
                assert after == done, where
            elif not isinstance(error, OutcomeUnknown):
                if name == "first post" and after.get("new") == ({}, [], []):
                    del after["new"]  # a queue that a post registered may stay, though the post failed
                assert after == before, where
            faults.fail(0, way)
            try:
                operation(client)
            except ZaqarError:
                assert after == done, where  # what is done already is not there to be done again
            assert view(operator) == done, where
