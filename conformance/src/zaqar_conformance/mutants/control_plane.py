"""Mutants of the core itself: bodies, dead letters, pools, flavors, the catalogue, subscriptions."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from zaqar_conformance.mutants.pauses import round_trip
from zaqar_conformance.mutants.zoo import Change, core_mutant, mutant
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_core import catalogue, documents, encoding, pools, queues, subscriptions, validation
from zaqar_core.context import Context
from zaqar_core.contract import EncodedMessage, QueueKey, Record, StoredMessage
from zaqar_core.dead_letters import DeadLetterQueue, DeadLetters
from zaqar_core.encoding import decode
from zaqar_core.errors import PoolInUse
from zaqar_core.models import Message, Pool
from zaqar_core.records import QueueRecords

# --- bodies and dead letters ----------------------------------------------------------------------------------------


@core_mutant("DLQ-004")
def dead_letters_are_deleted_first() -> list[Change]:
    """A dead letter is deleted, and then posted: who dies between loses it."""

    def move(
        self: DeadLetters,
        queue: QueueKey,
        claim_id: str,
        run: Sequence[StoredMessage],
        to: DeadLetterQueue,
        until: float,
    ) -> None:
        self._messages.delete(queue, [message.id for message in run], claim_ids=[claim_id])
        self._messages.post(to.key, [EncodedMessage(message.body, 60.0) for message in run], client_id="x")

    return [(DeadLetters, "_move_run", move)]


@core_mutant("DLQ-004")
def dead_letters_have_no_dedup_ids() -> list[Change]:
    """A dead letter is posted without a dedup id: who dies before its deletion doubles it."""

    def move(
        self: DeadLetters,
        queue: QueueKey,
        claim_id: str,
        run: Sequence[StoredMessage],
        to: DeadLetterQueue,
        until: float,
    ) -> None:
        self._messages.post(to.key, [EncodedMessage(message.body, 60.0) for message in run], client_id="x")
        self._messages.delete(queue, [message.id for message in run], claim_ids=[claim_id])

    return [(DeadLetters, "_move_run", move)]


@core_mutant("DLQ-001")
def dead_letters_keep_their_own_ttl() -> list[Change]:
    """``_dead_letter_queue_messages_ttl`` is written into the letter's record and not into its expiry."""
    move = DeadLetters._move_run

    def move_for_the_rest(
        self: DeadLetters,
        queue: QueueKey,
        claim_id: str,
        run: Sequence[StoredMessage],
        to: DeadLetterQueue,
        until: float,
    ) -> None:
        move(self, queue, claim_id, run, to._replace(ttl=None), until)

    return [(DeadLetters, "_move_run", move_for_the_rest)]


@core_mutant("INP-004")
def nan_is_a_number() -> list[Change]:
    """A body of NaN, or of infinities, is stored as text that is no JSON."""
    return [(encoding, "_encoder", json.JSONEncoder(allow_nan=True)), (encoding, "_is_plain", lambda *_: True)]


@core_mutant("MSG-032")
def bodies_are_decoded_for_all() -> list[Change]:
    """Messages are decoded when they are read: one that cannot be decoded raises for all of its page, pop or claim."""
    message = Context.message

    def decoded(self: Context, stored: StoredMessage) -> Message:
        found = message(self, stored)
        hash(str(found.body))
        return found

    return [(Context, "message", decoded)]


@mutant("DLQ-005")
class DeadLettersMoveWithinTheStore(ReferenceMessages):
    """A driver knows dead letters by their dedup ids, and moves what it has; those of another backend are lost."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            known = {message_id for held in self._state._queues.values() for message_id in held.items}
            mine = [
                each
                for each in messages
                if each.dedup_id is None
                or not each.dedup_id.startswith("dead:")
                or each.dedup_id.removeprefix("dead:") in known
            ]
            return super().post(queue, mine, client_id=client_id)


# --- pools, flavors, the catalogue --------------------------------------------------------------------------------


@core_mutant("CAT-006")
def pools_are_looked_at_before_they_are_marked() -> list[Change]:
    """``pools.delete`` looks who uses the pool, and then lets it go."""

    def delete(self: pools.Pools, name: str) -> None:
        record = self._documents.get("", name)
        if record is not None:
            reason = self._use(name, pools._State.read(record))
            if reason:
                raise PoolInUse(reason)
            round_trip()
            self._documents.delete("", name)

    return [(pools.Pools, "delete", delete)]


def _slow_look_at_pools() -> Change:
    """Which breaks nothing, and lets others do something meanwhile, as a network would."""
    check = catalogue.Catalogue._check_pool

    def check_slowly(self: catalogue.Catalogue, pool: str) -> None:
        check(self, pool)
        time.sleep(0.002)

    return catalogue.Catalogue, "_check_pool", check_slowly


@core_mutant("CAT-006")
def entries_are_written_last() -> list[Change]:
    """``catalogue.insert`` and ``update`` look whether there is such a pool, and then name it."""

    def confirm(self: catalogue.Catalogue, key: Any, record: Record, entry: catalogue._Entry) -> bool:
        self._write_index(entry.next, key)
        return self._entries.replace(key.project, record, catalogue._Entry(entry.next).value()) is not None

    return [_slow_look_at_pools(), (catalogue.Catalogue, "_confirm", confirm)]


@core_mutant("CAT-006")
def pools_do_not_strike_entries() -> list[Change]:
    """``pools.delete`` leaves alone entries that do not name the pool yet."""

    def find_entry(context: Any, pool: str) -> str:
        index, entries = context.documents("catalogue-by-pool"), context.documents("catalogue")
        for indexed in index.all(pool):
            key = decode(indexed.value)
            record = entries.get(key["project"], key["name"])
            if record is not None and catalogue._Entry.read(key["project"], record).pool == pool:
                return "a queue"
        return ""

    return [_slow_look_at_pools(), (pools, "find_entry", find_entry)]


@core_mutant("POO-004", "CAT-006")
def entries_are_not_in_the_index() -> list[Change]:
    """``catalogue.update`` does not note under the new pool that an entry names it."""
    return [(catalogue.Catalogue, "_write_index", lambda self, pool, key: None)]


@core_mutant("FLA-007")
def pools_join_unannounced() -> list[Change]:
    """A pool does not say that it is joining a flavor before the flavor's pools are looked at."""
    check = pools.Pools._check_flavor

    def slowly(self: pools.Pools, *arguments: Any) -> None:
        check(self, *arguments)
        round_trip()

    return [(pools.Pools, "_check_flavor", slowly), (pools._State, "joins", lambda self, flavor, changed: self)]


@core_mutant("FLA-008")
def pools_that_are_going_count() -> list[Change]:
    """Another pool of the flavor is enough to let one go, though that one is being deleted as well."""

    def use(self: pools.Pools, name: str, state: pools._State) -> str:
        others = [key for key, other in self._states() if key.key != name and other.flavor == state.flavor]
        time.sleep(0.002)
        return "" if others else "is the last"

    return [(pools.Pools, "_use", use)]


@core_mutant("FLA-004", "FLA-007")
def flavors_leave_their_pools() -> list[Change]:
    """A flavor's deletion leaves the pools in it."""
    return [(pools.Pools, "leave", lambda self, flavor: None)]


@core_mutant("FLA-002", "FLA-003", "FLA-007")
def any_pool_joins_any_flavor() -> list[Change]:
    """The capabilities of a flavor's pools are not compared."""
    return [
        (pools.Pools, "_check_flavor", lambda self, names, flavor, capabilities: None),
        (pools.Pools, "_compare", lambda self, flavor, members: None),
    ]


@core_mutant("FLA-002", "FLA-003")
def refused_changes_are_half_done() -> list[Change]:
    """``flavors.update`` leaves what it has moved where the rest is refused."""

    def move(self: pools.Pools, flavor: str, wanted: Sequence[str], *, leaving: bool) -> None:
        for pool in self.get_pools_by_flavor(flavor) if leaving else ():
            self.update(pool.name, flavor="")
        for member in wanted:
            self.update(member, flavor=flavor)

    return [(pools.Pools, "move", move)]


@core_mutant("POO-007")
def pools_show_their_passwords() -> list[Change]:
    """The URI in a pool's ``repr`` is whole."""
    return [(Pool, "__repr__", lambda self: f"<Pool {self.uri}>")]


# --- queues and stored records ------------------------------------------------------------------------------------


@core_mutant("QUE-013", "QUE-014")
def updates_replace_all() -> list[Change]:
    """``update_metadata`` is ``set_metadata``."""

    def change(self: QueueRecords, queue: QueueKey, change: Any) -> bool:
        return self.set_metadata(queue, change({}))

    return [(QueueRecords, "change_metadata", change)]


@core_mutant("QUE-015")
def any_reserved_key_will_do() -> list[Change]:
    """A misspelt key is stored, and does nothing."""
    check = validation.metadata

    def metadata(value: Any, queue: str, limits: Any, *, stored: Any = ()) -> bytes:
        return check(value, queue, limits, stored=[*value])

    return [(validation, "metadata", metadata)]


@core_mutant("QUE-016")
def deletions_say_that_nothing_happened() -> list[Change]:
    """``queues.delete`` passes on the error of a later step as it is."""
    return [(queues, "begun", lambda what: nullcontext())]


@core_mutant("REC-011")
def unknown_fields_are_dropped() -> list[Change]:
    """A record that is rewritten has the fields that this version knows."""
    return [(documents.Fields, "rest", lambda self: {})]


# --- subscriptions ------------------------------------------------------------------------------------------------


@core_mutant("SUB-004")
def subscriptions_are_known_by_the_subscriber() -> list[Change]:
    """The key of a subscription is its subscriber alone, whatever queue it is of."""
    return [(subscriptions, "_key", lambda key, subscriber: subscriber)]


@core_mutant("SUB-006")
def subscriptions_outlive_their_queue() -> list[Change]:
    """``queues.delete`` leaves the subscriptions."""
    return [(subscriptions.Subscriptions, "drop", lambda self, key: None)]


@core_mutant("SUB-003")
def subscriptions_use_ids_again() -> list[Change]:
    """Every subscription gets the same random part."""
    return [(subscriptions, "secrets", SimpleNamespace(token_urlsafe=lambda size: "x" * 16))]
