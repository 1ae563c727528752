"""What must be there after clients, or the datastore itself, died in the midst of calls."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from zaqar_conformance import judge
from zaqar_conformance.check import Violation, ensure
from zaqar_conformance.checks._clients import of_queue, settle_time, settled
from zaqar_conformance.checks._doomed import batch_of, metadata_of
from zaqar_conformance.env import Env
from zaqar_conformance.history import Operation
from zaqar_conformance.recorder import Recorder
from zaqar_conformance.story import stories
from zaqar_core import Capability, Message, Storage
from zaqar_core.errors import QueueDoesNotExist
from zaqar_core.limits import DEDUP_WINDOW


class Aftermath:
    """Judges the whole history by what a new client, ``storage``, finds. ``requirement``: what is broken otherwise."""

    def __init__(self, env: Env, storage: Storage, requirement: str) -> None:
        self._env = env
        self._storage = storage
        self._requirement = requirement
        self._reader = Recorder(storage, env.history, f"reader-{time.monotonic_ns()}")

    def demand_messages(self, queue: str) -> None:
        """Of a queue worked on at random: nothing lost, doubled or back once deleted; claims hold, counts agree."""
        found = self._all(queue)
        operations, ids = of_queue(self._env, queue), [message.id for message in found]
        self._demand_once(found)
        judge.demand(self._requirement, judge.lost(operations, ids))
        judge.demand(self._requirement, judge.resurrected(operations, settle_time(self._env)))
        if self._env.declares(Capability.EXCLUSIVE_CLAIMS):
            self._demand_claims(operations, found)
        self._demand_total(queue, len(found))

    def demand_batches(self, queue: str) -> None:
        """Of a queue that is only posted to: each batch is there once and whole; then it is worked off."""
        posts = {
            (operation.client, operation.arguments["batch"]): operation
            for operation in of_queue(self._env, queue)
            if operation.name == "messages.post"
        }
        found = self._all(queue)
        operations = of_queue(self._env, queue)
        judge.demand(self._requirement, judge.lost(operations, [message.id for message in found]))
        judge.demand(self._requirement, judge.resurrected(operations, settle_time(self._env)))
        if self._env.declares(Capability.FIFO):
            judge.demand(self._requirement, judge.listed_out_of_order(operations))
        parts = self._parts(found)
        for key, there in parts.items():
            self._demand_batch(posts.get(key), there)
        if self._env.declares(Capability.IDEMPOTENT_POST):
            self._demand_again(queue, posts, parts)
        self._work_off(queue)

    def demand_queues(self) -> None:
        """Each queue is as its one client left it, before or after the call that was cut short."""
        of_client = [each for each in self._env.history.operations if each.name.startswith("queues.")]
        for queue in sorted({operation.queue for operation in of_client}):
            mine = [each for each in of_client if each.queue == queue]
            possible = _possible(mine)
            try:
                metadata: Any = dict(self._storage.queues.get_metadata(queue))
            except QueueDoesNotExist:
                metadata = None
            expected = " or ".join(_told(each) for each in possible)
            seen = f"the queue {queue!r}, expected {expected}: {_told(metadata)}"
            ensure(metadata in possible, self._requirement, seen, mine[-10:])

    def _demand_once(self, found: Sequence[Message]) -> None:
        """No message is there twice: each was posted by one call, which nobody repeated."""
        told = Counter((str(message.body["by"]), int(message.body["n"])) for message in found)
        twice = [each for each, count in told.items() if count > 1]
        seen = f"{len(twice)} messages, each posted by one call, are there more than once, such as {twice[:1]}"
        ensure(not twice, self._requirement, seen, self._env.history.operations)

    def _demand_claims(self, operations: Sequence[Operation], found: Sequence[Message]) -> None:
        """What a live claim provably holds, it still holds."""
        now = time.monotonic_ns()
        claim_of = {message.id: message.claim_id for message in found}
        for story in stories(operations):
            for message, claims in story.claims_of.items():
                for claim in claims:
                    if now < story.held_until(claim, message) and claim_of.get(message) != claim.result["id"]:
                        seen = f"the claim of message {message} was acknowledged and is not over: expected the message"
                        seen += f" in claim {claim.result['id']}, it is in {claim_of.get(message)}"
                        raise Violation(self._requirement, seen, story.about(message, claim))

    def _demand_batch(self, post: Operation | None, there: list[int]) -> None:
        ensure(post is not None, self._requirement, f"{len(there)} messages are there that nobody had begun to post")
        assert post is not None
        size, atomic = post.arguments["count"], self._env.declares(Capability.ATOMIC_POST)
        what = f"of a batch of {size}, whose post was {_ENDS[post.outcome]}, {len(there)} messages are there"
        twice = sorted(part for part, count in Counter(there).items() if count > 1)
        ensure(not twice, self._requirement, f"{what}, {len(twice)} of them more than once", [post])
        whole = sorted(there) == list(range(size))
        ensure(whole or not atomic, self._requirement, f"{what}: expected all or none", [post])
        ensure(
            post.outcome != "refused" or not atomic, self._requirement, f"{what}: an error said that none were", [post]
        )

    def _demand_again(
        self, queue: str, posts: dict[tuple[str, int], Operation], parts: dict[tuple[str, int], list[int]]
    ) -> None:
        """What was cut short, and each client's last batch, posted again with its dedup ids is there once."""
        last = {client: max(number for name, number in posts if name == client) for client, _ in posts}
        recent = time.monotonic_ns() - (DEDUP_WINDOW - 60) * 1e9
        expected = sum(map(len, parts.values()))
        for (client, number), post in posts.items():
            if post.start < recent or (post.outcome == "ok" and number < last[client] - 1):
                continue
            size = post.arguments["count"]
            ids = self._storage.messages.post(queue, batch_of(client, number, size, dedup=True))
            if post.outcome == "ok":
                seen = "a batch, acknowledged and posted again after the crash, got other ids than before"
                ensure(ids == post.result, self._requirement, seen, [post])
            else:
                expected += size - len(parts.get((client, number), ()))
        self._demand_total(queue, expected, "once the batches cut short were posted again with their dedup ids")

    def _parts(self, found: Sequence[Message]) -> dict[tuple[str, int], list[int]]:
        """The numbers of the messages that are there, by batch."""
        parts: dict[tuple[str, int], list[int]] = defaultdict(list)
        for message in found:
            try:
                parts[message.body["by"], message.body["batch"]].append(message.body["part"])
            except (KeyError, TypeError):
                seen = f"a message is there whose body nobody posted: {str(message.body)[:80]}"
                raise Violation(self._requirement, seen) from None
        return parts

    def _work_off(self, queue: str) -> None:
        """Everything can be taken and deleted; nothing is left."""
        most = min(self._storage.limits.max_ids_per_call, self._storage.limits.max_messages_per_page)
        ids = [message.id for message in self._all(queue)]
        for first in range(0, len(ids), most):
            refused = self._reader.bulk_delete(queue, ids[first : first + most])
            ensure(not refused, self._requirement, f"{len(refused)} messages that no claim holds were not deleted")
        self._demand_total(queue, 0, "once everything was deleted")

    def _all(self, queue: str) -> list[Message]:
        """All messages, whatever their state, once every reader sees what was written."""
        settled(self._env)
        delayed = self._env.declares(Capability.DELAY)
        return self._reader.list_all(queue, include_claimed=True, include_delayed=delayed)

    def _demand_total(self, queue: str, expected: int, when: str = "beside how many are listed") -> None:
        self._env.see(
            lambda: self._storage.messages.stats(queue).total,
            lambda total: total == expected,
            self._requirement,
            f"total of the statistics after the crash, {when}: expected {expected}",
        )


_ENDS = {"ok": "acknowledged", "unknown": "cut short", "refused": "refused"}


def _possible(operations: Sequence[Operation]) -> list[Any]:
    """The metadata that a queue may have after these operations, one after the other; None: it is not there."""
    states: list[Any] = [None]
    for operation in operations:
        after = []
        for state in states:
            if operation.name == "queues.create":
                after.append({} if state is None else state)
            elif operation.name == "queues.delete":
                after.append(None)
            else:
                after.append(metadata_of(operation.arguments["step"]))
        if operation.outcome == "ok":
            states = after
        elif operation.outcome == "unknown":
            states += after
    return states


def _told(metadata: Any) -> str:
    return "absent" if metadata is None else f"with the metadata {str(metadata)[:40]}"
