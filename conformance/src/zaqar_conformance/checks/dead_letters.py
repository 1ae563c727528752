"""Dead letters: what was claimed too often goes to another queue, by the core, with any driver."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.env import Env
from zaqar_core import Claim, Message, NewMessage, Storage
from zaqar_core.errors import InvalidMetadata

_CLOSE = 2.0
"""Seconds that a check may take at most between posting a message and reading what it has left."""


@check("DLQ-001")
def dead_letter_appears_after_its_last_claim(env: Env) -> None:
    """A message is handed out ``_max_claim_count`` times; the claim after that moves it to the dead letter queue."""
    for most in (1, 3):
        queue, dead = _queue(env, max_claim_count=most)
        [message_id] = env.storage.messages.post(queue, [NewMessage("poison")])
        for number in range(1, most + 1):
            claim = _claim_and_release(env.storage, queue)
            handed_out = [(message.id, message.claim_count) for message in claim.messages]
            ensure_equal(handed_out, [(message_id, number)], "DLQ-001", f"claim {number} of at most {most}")
            ensure_equal(_listed(env, dead), [], "DLQ-001", f"dead letters after claim {number} of at most {most}")
        claim = env.storage.claims.create(queue, ttl=60, grace=0)
        ensure_equal((claim.id, [*claim.messages]), (None, []), "DLQ-001", f"claim {most + 1} of at most {most}")
        bodies = [message.body for message in _listed(env, dead)]
        ensure_equal(bodies, ["poison"], "DLQ-001", f"dead letters after claim {most + 1} of at most {most}")
        left = env.storage.messages.bulk_get(queue, [message_id])
        ensure_equal(left, [], "DLQ-001", f"the message in its old queue after claim {most + 1} of at most {most}")
        ensure_equal(env.storage.messages.stats(queue).total, 0, "DLQ-001", "messages left in the old queue")


@check("DLQ-001")
def dead_letter_keeps_body_headers_and_client(env: Env) -> None:
    """Dead letters keep body, headers and client id, and their order; their claim count restarts at 0."""
    queue, dead = _queue(env)
    bodies = [{"n": 1}, None, "\U0001f600", [1.0, True]]
    clients = ["first", "second", "second", "first"]
    for body, client in zip(bodies, clients, strict=True):
        message = NewMessage(body, headers={"kind": f"of {client}", "": "\0"})
        env.storage.messages.post(queue, [message], client_id=client)
    _claim_and_release(env.storage, queue)
    env.storage.claims.create(queue)
    letters = _listed(env, dead)
    ensure_equal([letter.body for letter in letters], bodies, "DLQ-001", "bodies of the dead letters, in order")
    ensure_equal([letter.client_id for letter in letters], clients, "DLQ-001", "client ids of the dead letters")
    headers = [{"kind": f"of {client}", "": "\0"} for client in clients]
    ensure_equal([letter.headers for letter in letters], headers, "DLQ-001", "headers of the dead letters")
    ensure_equal([letter.claim_count for letter in letters], [0] * 4, "DLQ-001", "claim counts of the dead letters")
    again = env.storage.claims.create(dead, ttl=60, grace=0)
    counts = [message.claim_count for message in again.messages]
    ensure_equal(counts, [1] * 4, "DLQ-001", "claim counts of the dead letters in a claim on their queue")


@check("DLQ-001")
def dead_letter_ttl_is_that_of_the_metadata(env: Env) -> None:
    """With ``_dead_letter_queue_messages_ttl`` a dead letter lives that long from its move on."""
    for ttl in (5000, 0.5):
        queue, dead = _queue(env, _dead_letter_queue_messages_ttl=ttl)
        env.storage.messages.post(queue, [NewMessage(1, ttl=1000)])
        _claim_and_release(env.storage, queue)
        env.storage.claims.create(queue)
        seen = [message.ttl for message in _listed(env, dead)]
        ensure_equal(seen, [float(ttl)], "DLQ-001", f"ttl of the dead letters, where the metadata says {ttl}")


@check("DLQ-001")
def dead_letter_ttl_is_what_was_left(env: Env) -> None:
    """Without ``_dead_letter_queue_messages_ttl`` a dead letter has the ttl that the message had left."""
    queue, dead = _queue(env)
    env.storage.messages.post(queue, [NewMessage(1, ttl=1000)])
    _claim_and_release(env.storage, queue)
    env.storage.claims.create(queue, ttl=1, grace=0)
    [letter] = _listed(env, dead)
    ensure(
        1000 - _CLOSE <= letter.ttl <= 1000,
        "DLQ-001",
        f"ttl of a dead letter moved right after its post with ttl 1000: expected nearly that, got {letter.ttl}",
    )
    ensure(letter.age <= _CLOSE, "DLQ-001", f"age of a dead letter just moved: expected nearly 0, got {letter.age}")


@check("DLQ-001")
def dead_letters_need_both_settings(env: Env) -> None:
    """Without a ``_dead_letter_queue`` a message is handed out without end."""
    dead = env.queue("dead")
    for metadata in ({"_max_claim_count": 1}, {"_max_claim_count": 1, "_dead_letter_queue": None}, {}):
        queue = env.queue()
        env.storage.queues.create(queue, metadata)
        [message_id] = env.storage.messages.post(queue, [NewMessage(1)])
        for number in range(1, 5):
            claim = _claim_and_release(env.storage, queue)
            seen = [(message.id, message.claim_count) for message in claim.messages]
            ensure_equal(seen, [(message_id, number)], "DLQ-001", f"claim {number} on a queue with {metadata}")
    ensure_equal(_listed(env, dead), [], "DLQ-001", "dead letters of queues that do not name both")


@check("DLQ-001")
def dead_letter_queue_is_of_the_same_project(env: Env) -> None:
    """The dead letter queue is the one of that name in the queue's own project, registered if it was not."""
    queue, dead = env.queue(), env.queue("dead")
    project = f"{env.project}-other"
    metadata = {"_max_claim_count": 1, "_dead_letter_queue": dead}
    env.storage.queues.create(queue, metadata, project=project)
    env.storage.messages.post(queue, [NewMessage("of the other project")], project=project)
    claim = env.storage.claims.create(queue, project=project)
    env.storage.claims.delete(queue, str(claim.id), project=project)
    env.storage.claims.create(queue, project=project)
    seen = [message.body for message in env.storage.messages.list(dead, project=project).items]
    ensure_equal(seen, ["of the other project"], "DLQ-001", "dead letters in the project of the queue")
    ensure_equal(env.storage.queues.exists(dead, project=project), True, "DLQ-001", "exists of the dead letter queue")
    ensure_equal(_listed(env, dead), [], "DLQ-001", "messages of the queue of that name in another project")


@check("DLQ-002")
def claim_goes_on_behind_dead_letters(env: Env) -> None:
    """A claim that meets dead letters hands out the live messages behind them, however few it may take."""
    for limit in (1, 2, 3, 10):
        queue, dead = _queue(env)
        env.storage.messages.post(queue, [NewMessage(f"dead {number}") for number in range(4)])
        _claim_and_release(env.storage, queue)
        live = env.storage.messages.post(queue, [NewMessage(f"live {number}") for number in range(2)])
        taken: list[str] = []
        for _ in live:
            claim = env.storage.claims.create(queue, ttl=60, grace=0, limit=limit)
            what = f"a claim with the limit {limit}, 4 dead letters before 2 live messages, {len(taken)} taken: its id"
            ensure(claim.id is not None, "DLQ-002", f"{what} is None, though live messages were left")
            taken += [message.id for message in claim.messages]
            if len(taken) >= len(live):
                break
        ensure_equal(taken, live, "DLQ-002", f"messages handed out by claims with the limit {limit}")
        bodies = [message.body for message in _listed(env, dead)]
        ensure_equal(bodies, [f"dead {number}" for number in range(4)], "DLQ-002", f"dead letters, limit {limit}")


@check("DLQ-002")
def claim_says_none_behind_dead_letters_only_if_nothing_is_left(env: Env) -> None:
    """A claim on nothing but dead letters says None and moves all of them, more than its limit too."""
    queue, dead = _queue(env)
    env.storage.messages.post(queue, [NewMessage(number) for number in range(7)])
    _claim_and_release(env.storage, queue)
    claim = env.storage.claims.create(queue, limit=2)
    ensure_equal((claim.id, [*claim.messages]), (None, []), "DLQ-002", "a claim on 7 dead letters, with the limit 2")
    bodies = [message.body for message in _listed(env, dead)]
    ensure_equal(bodies, [*range(7)], "DLQ-002", "dead letters after the claim said None")
    stats = env.storage.messages.stats(queue)
    ensure_equal(stats.total, 0, "DLQ-002", "messages left in the queue after the claim said None")


@check("DLQ-003")
def queue_cannot_be_its_own_dead_letter_queue(env: Env) -> None:
    """A queue that names itself as its dead letter queue is refused by ``create`` and ``set_metadata``."""
    new, there = env.queue(), env.queue()
    env.storage.queues.create(there, {"kept": 1})
    create, change = env.storage.queues.create, env.storage.queues.set_metadata
    for what, queue, call in (("create", new, create), ("set_metadata", there, change)):
        metadata = {"_max_claim_count": 1, "_dead_letter_queue": queue}
        raised = _refused(what, partial(call, queue, metadata))
        ensure(repr(queue) in str(raised), "DLQ-003", f"the error of {what} does not name {queue!r}: {raised}")
    ensure_equal(env.storage.queues.exists(new), False, "DLQ-003", "exists after create was refused")
    ensure_equal(env.storage.queues.get_metadata(there), {"kept": 1}, "DLQ-003", "metadata after a refusal")


def _refused(what: str, call: Callable[[], object]) -> Exception:
    return ensure_raises(InvalidMetadata, "DLQ-003", f"{what} of a queue as its own dead letter queue", call)


def _queue(env: Env, *, max_claim_count: int = 1, **metadata: object) -> tuple[str, str]:
    """A queue and the name of its dead letter queue."""
    queue, dead = env.queue(), env.queue("dead")
    settings = {"_max_claim_count": max_claim_count, "_dead_letter_queue": dead, **metadata}
    env.storage.queues.create(queue, settings)
    return queue, dead


def _claim_and_release(storage: Storage, queue: str) -> Claim:
    claim = storage.claims.create(queue, ttl=1, grace=0, limit=10)
    if claim.id is not None:
        storage.claims.delete(queue, claim.id)
    return claim


def _listed(env: Env, queue: str) -> list[Message]:
    return [*env.storage.messages.list(queue, limit=100, include_claimed=True, include_delayed=True).items]
