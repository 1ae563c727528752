"""Checks of deletion: who may delete what, that it is gone for good, and the purge of a whole queue."""

from __future__ import annotations

from functools import partial

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import (
    BRIEF,
    elapse,
    ids_of,
    keeps_records,
    listed,
    post,
    see_fetched,
    see_listed,
    see_stats,
    sizes,
    take,
)
from zaqar_conformance.env import Env
from zaqar_core import Capability
from zaqar_core.contract import new_id
from zaqar_core.errors import ClaimDoesNotExist, ClaimDoesNotMatch, MessageDoesNotExist, MessageIsClaimed

# --- what is absent -----------------------------------------------------------------------------------


@check("MSG-014")
def deleting_twice_succeeds(env: Env) -> None:
    """Deleting a message, and deleting it again, succeeds; the others stay."""
    queue = env.queue()
    ids = post(env, queue, 3)
    for _ in range(3):
        env.storage.messages.delete(queue, ids[1])
        see_listed(env, queue, [ids[0], ids[2]], "MSG-014", "3 messages, the second deleted once or more")
        ensure_equal(
            env.storage.messages.bulk_delete(queue, [ids[1]] * 2), [], "MSG-014", "refused of a deleted message"
        )
    ensure_equal(env.storage.messages.bulk_delete(queue, [*ids, *ids]), [], "MSG-014", "refused of ids named twice")
    see_listed(env, queue, [], "MSG-014", "3 messages, all deleted")


@check("MSG-014", waits=True)
def deleting_what_is_absent_succeeds_whatever_claim_is_given(env: Env) -> None:
    """A message never posted, deleted, expired or purged is deleted without error, with any claim or none."""
    queue, purged = env.queue(), env.queue()
    expired, deleted = post(env, queue, 1, ttl=BRIEF), post(env, queue, 1)
    env.storage.messages.delete(queue, deleted[0])
    gone = post(env, purged, 1)
    env.storage.messages.purge(purged)
    elapse(env, BRIEF)
    claims = [None, "", "no such claim", new_id()]
    if env.declares(Capability.CLAIMS):
        kept = post(env, queue, 2)
        claim, _ = take(env, queue, 1)
        released, _ = take(env, queue, 1)
        env.storage.claims.delete(queue, released)
        claims += [claim, released]
    for where, ids in ((queue, [*expired, *deleted, new_id(), ""]), (purged, gone)):
        for claim_id in claims:
            for one in ids:
                env.storage.messages.delete(where, one, claim_id=claim_id)
            refused = env.storage.messages.bulk_delete(where, ids, claim_ids=None if claim_id is None else [claim_id])
            ensure_equal(refused, [], "MSG-014", f"absent messages refused, with claim {claim_id!r}")
    if env.declares(Capability.CLAIMS):
        see_listed(env, queue, kept, "MSG-014", "2 messages beside absent ones", include_claimed=True)


@check("MSG-014", "POP-002")
def deleting_a_popped_message_succeeds(env: Env) -> None:
    """A popped message is deleted without error, with a claim that is none and without."""
    queue = env.queue()
    ids = post(env, queue, 2)
    see_listed(env, queue, ids, "MSG-001", "2 messages")
    popped = ids_of(env.storage.messages.pop(queue, 2))
    for one in popped:
        env.storage.messages.delete(queue, one)
        env.storage.messages.delete(queue, one, claim_id="no such claim")
    ensure_equal(env.storage.messages.bulk_delete(queue, popped), [], "MSG-014", "refused of popped messages")


# --- with and without claims --------------------------------------------------------------------------


def _refuses(
    env: Env, queue: str, message_id: str, claim_id: str | None, error: type[Exception], requirement: str, what: str
) -> None:
    """Deleting raises ``error``, twice, and the message stays."""
    for _ in range(2):
        delete = partial(env.storage.messages.delete, queue, message_id, claim_id=claim_id)
        ensure_raises(error, requirement, f"deleting {what}", delete)
        see_fetched(env, queue, [message_id], [message_id], requirement, f"after the refused deletion of {what}")


@check("MSG-015")
def deleting_with_an_unknown_claim_is_refused(env: Env) -> None:
    """A claim that never was (the empty string too) deletes neither a free message nor one under a live claim."""
    queue = env.queue()
    ids = post(env, queue, 2)
    take(env, queue, 1)
    for claim_id in (new_id(), "", "None", ids[0], " "):
        for one, state in ((ids[1], "a free message"), (ids[0], "a message of a live claim")):
            what = f"{state} with the unknown claim {claim_id!r}"
            _refuses(env, queue, one, claim_id, ClaimDoesNotExist, "MSG-015", what)


@check("MSG-015")
def deleting_with_a_released_claim_is_refused(env: Env) -> None:
    """A claim that was released deletes nothing: not while the message is free, nor while another claim holds it."""
    queue = env.queue()
    ids = post(env, queue, 2)
    claim, _ = take(env, queue, 2)
    env.storage.claims.delete(queue, claim)
    _refuses(env, queue, ids[0], claim, ClaimDoesNotExist, "MSG-015", "a free message with the claim that released it")
    take(env, queue, 1)
    what = "a message that another claim holds with the claim that released it"
    _refuses(env, queue, ids[0], claim, ClaimDoesNotExist, "MSG-015", what)
    see_stats(env, queue, "MSG-015", "2 messages of which 1 is claimed, after refused deletions", free=1, claimed=1)


@check("MSG-015", waits=True)
def deleting_with_an_expired_claim_is_refused(env: Env) -> None:
    """A claim that expired deletes nothing, by the very first call after its end, and one by one or in bulk."""
    one_by_one, in_bulk = env.queue(), env.queue()
    claims = {}
    for queue in (one_by_one, in_bulk):
        ids = post(env, queue, 2)
        claims[queue] = take(env, queue, 2, ttl=BRIEF)[0], ids
    elapse(env, BRIEF)
    claim, ids = claims[one_by_one]
    _refuses(env, one_by_one, ids[0], claim, ClaimDoesNotExist, "MSG-015", "a message with the claim that expired")
    claim, ids = claims[in_bulk]
    refused = env.storage.messages.bulk_delete(in_bulk, ids, claim_ids=[claim])
    ensure_equal(refused, ids, "MSG-015", "refused of 2 messages with the claim that expired")
    see_listed(env, in_bulk, ids, "MSG-015", "2 messages after their deletion with an expired claim was refused")


@check("MSG-016")
def deleting_with_another_live_claim_is_refused(env: Env) -> None:
    """A live claim deletes neither what another claim holds, nor what nobody holds, nor what it let go."""
    queue = env.queue()
    ids = post(env, queue, 5)
    mine, _ = take(env, queue, 2)
    take(env, queue, 2)
    env.storage.claims.delete(queue, mine, message_ids=[ids[1]])
    for one, state in (
        (ids[2], "a message that another claim holds"),
        (ids[4], "a message that no claim holds"),
        (ids[1], "a message that the claim has released"),
    ):
        _refuses(env, queue, one, mine, ClaimDoesNotMatch, "MSG-016", f"{state} with a live claim")
    see_stats(env, queue, "MSG-016", "5 messages of which 3 are claimed, after refused deletions", free=2, claimed=3)


@check("MSG-017")
def a_claimed_message_is_deleted_only_with_its_claim(env: Env) -> None:
    """Without naming a claim a claimed message is refused; with its claim it goes, and the claim keeps the rest."""
    queue = env.queue()
    ids = post(env, queue, 3)
    claim, _ = take(env, queue, 2)
    _refuses(env, queue, ids[0], None, MessageIsClaimed, "MSG-017", "a claimed message without naming a claim")
    env.storage.messages.delete(queue, ids[0], claim_id=claim)
    see_fetched(env, queue, ids, ids[1:], "MSG-017", "3 messages after the first was deleted with its claim")
    _refuses(env, queue, ids[1], None, MessageIsClaimed, "MSG-017", "the claim's other message without naming it")
    see_stats(env, queue, "MSG-017", "2 messages left of which 1 is claimed", free=1, claimed=1)


@check("MSG-017", waits=True)
def a_message_that_is_free_again_is_deleted_without_a_claim(env: Env) -> None:
    """Once a claim has ended or was released, its messages are deleted without naming one, by the very first call."""
    queues = [env.queue() for _ in range(3)]
    ids = [post(env, queue, 2) for queue in queues]
    take(env, queues[0], 2, ttl=BRIEF)
    take(env, queues[1], 2, ttl=BRIEF)
    released, _ = take(env, queues[2], 2)
    env.storage.claims.delete(queues[2], released)
    env.storage.messages.delete(queues[2], ids[2][0])
    see_listed(env, queues[2], ids[2][1:], "MSG-017", "2 messages released, one deleted without naming a claim")
    elapse(env, BRIEF)
    env.storage.messages.delete(queues[0], ids[0][0])
    see_listed(env, queues[0], ids[0][1:], "MSG-017", "2 messages whose claim ended, one deleted without naming it")
    refused = env.storage.messages.bulk_delete(queues[1], ids[1])
    ensure_equal(refused, [], "MSG-017", "refused of 2 messages whose claim ended, deleted in bulk without naming it")


@check("MSG-018")
def bulk_delete_without_claims_refuses_claimed_messages(env: Env) -> None:
    """Free messages go, absent ones are not refused, those that a live claim holds are, in the order asked."""
    queue = env.queue()
    ids = post(env, queue, 10)
    take(env, queue, 4)
    asked = [*env.rng.sample(ids, 10), "absent", new_id()]
    refused = env.storage.messages.bulk_delete(queue, asked)
    expected = [one for one in asked if one in ids[:4]]
    ensure_equal(refused, expected, "MSG-018", "refused of 10 messages, 4 of them claimed, and 2 absent ones")
    see_fetched(env, queue, ids, ids[:4], "MSG-018", "what is left after the bulk deletion")
    see_stats(env, queue, "MSG-018", "what is left after the bulk deletion", claimed=4)


@check("MSG-018")
def bulk_delete_with_claims_deletes_what_they_hold(env: Env) -> None:
    """With several claims, dead ones among them, what the live ones hold goes and all else is refused, in order."""
    queue = env.queue()
    ids = post(env, queue, 12)
    claims = [take(env, queue, 3)[0] for _ in range(3)]
    asked = [*env.rng.sample(ids, 12), "absent"]
    refused = env.storage.messages.bulk_delete(queue, asked, claim_ids=[claims[0], "no such claim", claims[2]])
    left = [*ids[3:6], *ids[9:]]
    expected = [one for one in asked if one in left]
    ensure_equal(refused, expected, "MSG-018", "refused of 12 messages with the claims of the 1st and 3rd three")
    see_fetched(env, queue, ids, left, "MSG-018", "what is left after the bulk deletion")
    ensure_equal(
        ids_of(env.storage.claims.get(queue, claims[1]).messages), ids[3:6], "MSG-018", "the 2nd claim's messages"
    )


@check("MSG-018")
def bulk_delete_with_claims_that_hold_nothing_refuses_all(env: Env) -> None:
    """With an empty list of claims, or only dead ones, every message that is there is refused, free ones too."""
    queue = env.queue()
    ids = post(env, queue, 4)
    take(env, queue, 2)
    for claims in ([], ["no such claim"], ["", "None"]):
        refused = env.storage.messages.bulk_delete(queue, [*ids, "absent"], claim_ids=claims)
        ensure_equal(refused, ids, "MSG-018", f"refused of 4 messages and an absent one with claim_ids={claims}")
    see_stats(env, queue, "MSG-018", "4 messages of which 2 are claimed, after refused deletions", free=2, claimed=2)


@check("MSG-018", thorough=True)
def bulk_delete_takes_thousands(env: Env) -> None:
    """Thousands of messages, half of them claimed, are deleted or refused in one call."""
    limits = env.storage.limits
    for size in sizes(min(limits.max_ids_per_call, limits.max_messages_per_claim)):
        queue = env.queue()
        ids = post(env, queue, size)
        half = (size + 1) // 2
        claim, _ = take(env, queue, half)
        what = f"refused of {size} messages of which {half} are claimed"
        ensure_equal(env.storage.messages.bulk_delete(queue, ids), ids[:half], "MSG-018", what)
        see_stats(env, queue, "MSG-018", f"{half} messages that were refused", claimed=half)
        refused = env.storage.messages.bulk_delete(queue, ids, claim_ids=[claim])
        ensure_equal(refused, [], "MSG-018", f"{what}, then deleted with the claim")
        see_stats(env, queue, "MSG-018", f"{size} deleted messages")


# --- gone for good ------------------------------------------------------------------------------------


@check("MSG-019")
def a_deleted_message_is_never_seen_again(env: Env) -> None:
    """After its deletion a message is not listed, fetched, shown first or counted, from either end or the middle."""
    queue = env.queue()
    ids = post(env, queue, 9)
    gone: list[str] = []
    for index in (0, 8, 4):
        gone.append(ids[index])
        env.storage.messages.delete(queue, ids[index])
        left = [one for one in ids if one not in gone]
        what = f"9 messages of which {len(gone)} were deleted"
        see_listed(env, queue, left, "MSG-019", what, include_claimed=True, include_delayed=True)
        see_fetched(env, queue, ids, left, "MSG-019", what)
        see_stats(env, queue, "MSG-019", what, free=len(left))
        get = partial(env.storage.messages.get, queue, gone[-1])
        ensure_raises(MessageDoesNotExist, "MSG-019", f"get of a deleted message of {what}", get)
        ends = env.storage.messages.first(queue).id, env.storage.messages.first(queue, newest=True).id
        ensure_equal(ends, (left[0], left[-1]), "MSG-019", f"first and newest of {what}")


@check("MSG-019", thorough=True)
def thousands_are_deleted_at_once(env: Env) -> None:
    """Thousands of messages deleted in one call are gone, and nothing else is."""
    queue = env.queue()
    for size in sizes(env.storage.limits.max_ids_per_call):
        front, ids, back = post(env, queue, 1), post(env, queue, size), post(env, queue, 1)
        refused = env.storage.messages.bulk_delete(queue, env.rng.sample(ids, size))
        ensure_equal(refused, [], "MSG-019", f"refused of {size} free messages")
        what = f"2 messages around {size} deleted ones"
        see_stats(env, queue, "MSG-019", what, free=2)
        see_fetched(env, queue, [*front, ids[0], ids[-1], *back], [*front, *back], "MSG-019", what)
        env.storage.messages.bulk_delete(queue, [*front, *back])


@check("MSG-019", "CLM-001")
def a_deleted_message_is_not_claimed(env: Env) -> None:
    """A deleted message is not claimed: not one deleted while free, nor one deleted under an earlier claim."""
    queue = env.queue()
    ids = post(env, queue, 5)
    env.storage.messages.delete(queue, ids[0])
    claim, held = take(env, queue, 2)
    ensure_equal(ids_of(held), ids[1:3], "MSG-019", "claimed where the first of 5 messages was deleted")
    env.storage.messages.delete(queue, ids[1], claim_id=claim)
    env.storage.claims.delete(queue, claim)
    see_listed(env, queue, ids[2:], "MSG-019", "after a message was deleted under a claim and the claim released")
    found = env.storage.claims.create(queue, limit=10)
    ensure_equal(ids_of(found.messages), ids[2:], "MSG-019", "claimed after a message was deleted under another claim")


@check("MSG-019", "CLM-001", waits=True)
def a_message_deleted_under_a_claim_does_not_come_back(env: Env) -> None:
    """What was deleted under a claim stays away when the claim is renewed, released in part, or ends."""
    renewed, named, ended = env.queue(), env.queue(), env.queue()
    ids = {queue: post(env, queue, 3) for queue in (renewed, named, ended)}
    claims = {queue: take(env, queue, 3, ttl=BRIEF if queue == ended else 600)[0] for queue in ids}
    for queue in (renewed, named):
        env.storage.messages.delete(queue, ids[queue][0], claim_id=claims[queue])
    # On a machine so slow that this claim has ended, nobody needs its name any more.
    gone = env.storage.messages.bulk_delete(ended, ids[ended][:1], claim_ids=[claims[ended]]) == []
    if not gone:
        env.storage.messages.delete(ended, ids[ended][0])
    env.storage.claims.update(renewed, claims[renewed], ttl=300)
    env.storage.claims.delete(renewed, claims[renewed])
    see_listed(env, renewed, ids[renewed][1:], "MSG-019", "one of 3 deleted under a claim, then renewed and released")
    env.storage.claims.delete(named, claims[named], message_ids=ids[named])
    see_listed(env, named, ids[named][1:], "MSG-019", "one of 3 deleted under a claim, then all released by name")
    elapse(env, BRIEF)
    see_listed(env, ended, ids[ended][1:], "MSG-019", "one of 3 deleted under a claim that then ended")
    for queue, expected in ids.items():
        see_fetched(env, queue, expected, expected[1:], "MSG-019", "3 messages, one of them deleted under a claim")
        see_stats(env, queue, "MSG-019", "3 messages, one of them deleted under a claim", free=2)


@check("MSG-019", "POP-001")
def a_deleted_message_is_not_popped(env: Env) -> None:
    """A pop passes deleted messages by."""
    queue = env.queue()
    ids = post(env, queue, 4)
    env.storage.messages.bulk_delete(queue, [ids[0], ids[2]])
    see_listed(env, queue, [ids[1], ids[3]], "MSG-019", "4 messages of which 2 were deleted")
    popped = ids_of(env.storage.messages.pop(queue, 10))
    ensure_equal(popped, [ids[1], ids[3]], "MSG-019", "popped of 4 messages of which 2 were deleted")


@check("MSG-019", "MSG-027", waits=True)
def a_message_deleted_while_delayed_never_appears(env: Env) -> None:
    """A delayed message can be deleted, and does not appear when its delay is over."""
    queue = env.queue()
    ids = post(env, queue, 2, delay=BRIEF)
    env.storage.messages.delete(queue, ids[0])
    see_fetched(env, queue, ids, ids[1:], "MSG-019", "2 delayed messages of which one was deleted")
    elapse(env, BRIEF)
    see_listed(env, queue, ids[1:], "MSG-019", "2 messages, one deleted during its delay, after the delay")


# --- purge --------------------------------------------------------------------------------------------


@check("MSG-020")
def purge_removes_all_messages(env: Env) -> None:
    """A purge removes every message, thousands too; a second one succeeds; the queue goes on."""
    for count in (1, 3, min(env.depth, 2_500)):
        queue = env.queue()
        ids = post(env, queue, count)
        for times in ("once", "twice"):
            env.storage.messages.purge(queue)
            what = f"{count} messages, purged {times}"
            see_listed(env, queue, [], "MSG-020", what, include_claimed=True, include_delayed=True)
            see_fetched(env, queue, ids, [], "MSG-020", what)
            see_stats(env, queue, "MSG-020", what)
        fresh = post(env, queue, 2)
        see_listed(env, queue, fresh, "MSG-020", "2 messages posted after a purge")
        see_stats(env, queue, "MSG-020", "2 messages posted after a purge", free=2)


@check("MSG-020")
def purge_keeps_the_queue_and_its_metadata(env: Env) -> None:
    """A purge keeps the queue registered, with its metadata."""
    if not keeps_records(env):
        return
    queue = env.queue()
    env.storage.queues.create(queue, {"a": [1, 2]})
    post(env, queue, 2)
    env.storage.messages.purge(queue)
    ensure_equal(env.storage.queues.exists(queue), True, "MSG-020", "exists() after a purge")
    ensure_equal(env.storage.queues.get_metadata(queue), {"a": [1, 2]}, "MSG-020", "metadata after a purge")


@check("MSG-020", "CLM-001")
def purge_removes_claims(env: Env) -> None:
    """A purge removes claimed messages and the claims, which then read, renew, release and delete nothing."""
    queue = env.queue()
    post(env, queue, 5)
    claim, held = take(env, queue, 3)
    env.storage.messages.purge(queue)
    what = "5 messages of which 3 were claimed, purged"
    see_listed(env, queue, [], "MSG-020", what, include_claimed=True)
    see_fetched(env, queue, ids_of(held), [], "MSG-020", what)
    see_stats(env, queue, "MSG-020", what)
    ensure_equal(env.storage.claims.create(queue).id, None, "MSG-020", "id of a claim on a purged queue")
    fresh = post(env, queue, 2)
    ensure_raises(ClaimDoesNotExist, "MSG-020", "get of a purged claim", lambda: env.storage.claims.get(queue, claim))
    renew = partial(env.storage.claims.update, queue, claim)
    ensure_raises(ClaimDoesNotExist, "MSG-020", "update of a purged claim", renew)
    delete = partial(env.storage.messages.delete, queue, fresh[0], claim_id=claim)
    ensure_raises(ClaimDoesNotExist, "MSG-020", "deleting a new message with a purged claim", delete)
    env.storage.claims.delete(queue, claim)
    env.storage.claims.delete(queue, claim, message_ids=[*ids_of(held), *fresh])
    see_stats(env, queue, "MSG-020", "2 messages posted after a purge, after calls with the purged claim", free=2)


@check("MSG-020", "CLM-004", waits=True)
def purged_messages_do_not_come_back_with_time(env: Env) -> None:
    """When the end of a purged claim, delay or life comes, nothing returns and no count changes."""
    queue = env.queue()
    post(env, queue, 3)
    take(env, queue, 2, ttl=BRIEF)
    if env.declares(Capability.DELAY):
        post(env, queue, 2, delay=BRIEF)
    env.storage.messages.purge(queue)
    fresh = post(env, queue, 2)
    held, _ = take(env, queue, 1)
    elapse(env, BRIEF)
    what = "2 messages, one claimed, posted after a purge of claimed and delayed ones whose time is now over"
    see_stats(env, queue, "MSG-020", what, free=1, claimed=1)
    see_listed(env, queue, fresh, "MSG-020", what, include_claimed=True, include_delayed=True)
    env.storage.claims.delete(queue, held)
    see_listed(env, queue, fresh, "MSG-020", "2 messages posted after a purge, all released")


@check("MSG-020", "MSG-027")
def purge_removes_delayed_messages(env: Env) -> None:
    """A purge removes delayed messages as well."""
    queue = env.queue()
    ids = post(env, queue, 3, delay=60)
    env.storage.messages.purge(queue)
    see_listed(env, queue, [], "MSG-020", "3 delayed messages, purged", include_delayed=True)
    see_fetched(env, queue, ids, [], "MSG-020", "3 delayed messages, purged")
    see_stats(env, queue, "MSG-020", "3 delayed messages, purged")


@check("MSG-020")
def purge_spares_other_queues(env: Env) -> None:
    """A purge leaves other queues alone, before and behind it in every order."""
    queues = [env.queue() for _ in range(5)]
    ids = {queue: post(env, queue, 3) for queue in queues}
    env.storage.messages.purge(queues[2])
    for queue in queues:
        expected = [] if queue == queues[2] else ids[queue]
        see_listed(env, queue, expected, "MSG-020", "5 queues of which the third was purged")
    ensure(not listed(env, queues[2]), "MSG-020", "the purged queue has messages again")
