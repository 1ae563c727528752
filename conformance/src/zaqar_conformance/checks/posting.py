"""Checks of what a post promises: all or nothing, once only, in order, and not before its delay is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import (
    BRIEF,
    LONG,
    SLACK,
    difference,
    elapse,
    ids_of,
    keeps_records,
    listed,
    post,
    see_fetched,
    see_listed,
    see_stats,
    sizes,
    turns,
)
from zaqar_conformance.env import Env
from zaqar_core import Capability, NewMessage, Storage
from zaqar_core.errors import InvalidInput, OutcomeUnknown, QueueIsEmpty, StorageError, StorageUnavailable

# --- all or nothing -----------------------------------------------------------------------------------


@check("MSG-023")
def a_refused_post_stores_nothing(env: Env) -> None:
    """A batch that is refused for its last message, its length or its size stores nothing."""
    queue, limits = env.queue(), env.storage.limits
    good = [NewMessage(number, ttl=LONG) for number in range(20)]
    most = "x" * (limits.max_body_bytes - 2)
    batches = {
        "a last body that is no JSON": [*good, NewMessage(float("nan"), ttl=LONG)],
        "a last body that is too large": [*good, NewMessage(most + "x", ttl=LONG)],
        "a last ttl of 0": [*good, NewMessage(1, ttl=0)],
        "a last delay that is not less than its ttl": [*good, NewMessage(1, ttl=1, delay=1)],
        "too many messages": [NewMessage(1, ttl=LONG)] * (limits.max_messages_per_post + 1),
    }
    for what, batch in batches.items():
        ensure_raises(InvalidInput, "MSG-023", f"a post with {what}", partial(env.storage.messages.post, queue, batch))
        see_listed(env, queue, [], "MSG-023", f"after a refused post with {what}", include_delayed=True)
        see_stats(env, queue, "MSG-023", f"after a refused post with {what}")


@check("MSG-023", thorough=True)
def a_large_post_that_fails_stores_nothing(env: Env) -> None:
    """A batch of any size and weight that the limits allow, if it fails at all, has stored nothing."""
    limits = env.storage.limits
    heavy = NewMessage("x" * (limits.max_body_bytes - 2), ttl=LONG)
    most = limits.max_messages_per_post
    batches = [
        [NewMessage(number, ttl=LONG) for number in range(size)] for size in sizes(most) if size > 1001 or size == most
    ]
    batches.append([heavy] * max(1, min(limits.max_post_bytes // limits.max_body_bytes, most)))
    for batch in batches:
        _post_all_or_nothing(env, env.storage, env.queue(), batch)()


@check("MSG-023", thorough=True)
def a_post_that_runs_out_of_time_stores_nothing(env: Env) -> None:
    """A post that ends in a time-out has stored nothing, or says that its outcome is unknown; never a part."""
    verdicts = []
    for timeout in (0.001, 0.002, 0.005, 0.01, 0.02):
        try:
            hasty = env.connect(timeout=timeout)
        except StorageUnavailable:
            continue
        for size in (1, 100, min(2_000, hasty.limits.max_messages_per_post)):
            batch = [NewMessage(number, ttl=LONG) for number in range(size)]
            verdicts.append(_post_all_or_nothing(env, hasty, env.queue(), batch))
    elapse(env, BRIEF)  # what was given up may still arrive
    for verdict in verdicts:
        verdict()


@check("MSG-023", destructive=True, thorough=True, waits=True)
def a_post_to_a_silent_datastore_stores_nothing(env: Env) -> None:
    """A post to a datastore that serves nobody for a while has stored nothing, or says that its outcome is unknown."""
    patient = env.connect(timeout=0.5, metadata_ttl=600)  # lest asking for metadata is all that it comes to
    queues = [env.queue() for _ in range(3)]
    for queue in queues:
        for _ in range(2):
            patient.messages.post(queue, [NewMessage(0, ttl=LONG)])
        env.storage.messages.purge(queue)
    with env.target.blocked(env.uri):
        batch = [NewMessage(number, ttl=LONG) for number in range(10)]
        verdicts = [_post_all_or_nothing(env, patient, queue, batch) for queue in queues]
    elapse(env, 0.5)  # what was given up may still arrive
    for verdict in verdicts:
        verdict()


def _post_all_or_nothing(env: Env, client: Storage, queue: str, batch: list[NewMessage]) -> Callable[[], None]:
    """Post; what comes back says, when it is called, whether what is stored fits how the post ended."""
    allowed, ending = {len(batch)}, "returned"
    try:
        client.messages.post(queue, batch)
    except OutcomeUnknown:
        allowed, ending = {0, len(batch)}, "raised OutcomeUnknown"
    except StorageError as error:
        allowed, ending = {0}, f"raised {type(error).__name__}: {error}"

    def judge() -> None:
        what = f"a post of {len(batch)} messages {ending}; messages stored (allowed: {sorted(allowed)})"
        env.see(lambda: len(listed(env, queue)), allowed.__contains__, "MSG-023", f"{what}, listed")
        env.see(lambda: env.storage.messages.stats(queue).total, allowed.__contains__, "MSG-023", f"{what}, counted")
        env.storage.messages.purge(queue)

    return judge


# --- once only ----------------------------------------------------------------------------------------


def _post_once(env: Env, queue: str, body: object, dedup_id: str, **options: str) -> str:
    return env.storage.messages.post(queue, [NewMessage(body, ttl=LONG, dedup_id=dedup_id)], **options)[0]


@check("MSG-024")
def a_dedup_id_twice_in_a_batch_is_stored_once(env: Env) -> None:
    """Within one batch the first message of a dedup id is stored; the others give its id, in their places."""
    queue = env.queue()
    dedup_ids = ["one", None, "one", "two", None, "one", "two", "three"]
    batch = [NewMessage(place, ttl=LONG, dedup_id=dedup_id) for place, dedup_id in enumerate(dedup_ids)]
    ids = env.storage.messages.post(queue, batch)
    ensure_equal(len(ids), len(batch), "MSG-024", "ids returned for a batch of 8 messages with repeated dedup ids")
    places = [ids.index(one) for one in ids]
    ensure_equal(places, [0, 1, 0, 3, 4, 0, 3, 7], "MSG-024", f"first places of the ids returned for {dedup_ids}")
    stored = [ids[place] for place in (0, 1, 3, 4, 7)]
    see_listed(env, queue, stored, "MSG-024", "a batch of 8 messages of which 3 repeat a dedup id")
    bodies = [message.body for message in listed(env, queue)]
    ensure_equal(bodies, [0, 1, 3, 4, 7], "MSG-024", "bodies stored of that batch")


@check("MSG-024")
def a_dedup_id_posted_again_stores_nothing(env: Env) -> None:
    """Posted again, alone or in a batch, by any client, a dedup id gives the first id; the first body stays."""
    queue, other = env.queue(), env.connect()
    first = _post_once(env, queue, "first", "d")
    see_listed(env, queue, [first], "MSG-001", "a message with a dedup id")
    again = {
        "posted again": _post_once(env, queue, "again", "d"),
        "posted by another client id": _post_once(env, queue, "again", "d", client_id="another"),
        "posted by another connection": other.messages.post(queue, [NewMessage(2, ttl=1, dedup_id="d")])[0],
        "posted with a plain one": env.storage.messages.post(
            queue, [NewMessage(3, ttl=LONG), NewMessage(4, ttl=LONG, dedup_id="d")]
        )[1],
    }
    for how, found in again.items():
        ensure_equal(found, first, "MSG-024", f"id of a dedup id {how}")
    plain = [message.id for message in listed(env, queue) if message.body == 3]
    see_listed(env, queue, [first, *plain], "MSG-024", "one message with a dedup id, posted 5 times, and a plain one")
    stored = env.storage.messages.get(queue, first)
    kept = (stored.body, stored.ttl, stored.client_id)
    ensure_equal(kept, ("first", LONG, env.storage.client_id), "MSG-024", "body, ttl and client of the first message")


@check("MSG-024", waits=True)
def a_dedup_id_outlives_its_message(env: Env) -> None:
    """After the first message was deleted or has expired its dedup id still gives its id and stores nothing."""
    queue = env.queue()
    short = NewMessage(1, ttl=BRIEF, dedup_id="expired")
    expired = env.storage.messages.post(queue, [short])[0]
    deleted = _post_once(env, queue, 1, "deleted")
    env.storage.messages.delete(queue, deleted)
    elapse(env, BRIEF)
    env.storage.gc()
    for dedup_id, first in (("deleted", deleted), ("expired", expired)):
        for _ in range(2):
            found = _post_once(env, queue, 2, dedup_id)
            ensure_equal(found, first, "MSG-024", f"id of the dedup id of a message that is {dedup_id}")
    see_listed(env, queue, [], "MSG-024", "dedup ids of a deleted and an expired message, posted again")
    see_stats(env, queue, "MSG-024", "dedup ids of a deleted and an expired message, posted again")


@check("MSG-024", "CLM-001")
def a_dedup_id_of_a_claimed_message_stores_nothing(env: Env) -> None:
    """While the first message is claimed, and after it was deleted with its claim, its dedup id stores nothing."""
    queue = env.queue()
    first = _post_once(env, queue, 1, "d")
    see_listed(env, queue, [first], "MSG-001", "a message with a dedup id")
    claim = str(env.storage.claims.create(queue).id)
    ensure_equal(_post_once(env, queue, 2, "d"), first, "MSG-024", "id of the dedup id of a claimed message")
    see_stats(env, queue, "MSG-024", "a claimed message whose dedup id was posted again", claimed=1)
    env.storage.messages.delete(queue, first, claim_id=claim)
    ensure_equal(
        _post_once(env, queue, 3, "d"), first, "MSG-024", "id of the dedup id of a message deleted by its claim"
    )
    see_stats(env, queue, "MSG-024", "a message deleted by its claim whose dedup id was posted again")


@check("MSG-024")
def another_queue_knows_nothing_of_a_dedup_id(env: Env) -> None:
    """The same dedup id in another queue, or in another project's queue of the name, is stored."""
    queue, neighbour, project = env.queue(), env.queue(), f"{env.project}-other"
    ids = [
        _post_once(env, queue, 1, "d"),
        _post_once(env, neighbour, 2, "d"),
        _post_once(env, queue, 3, "d", project=project),
    ]
    ensure_equal(len(set(ids)), 3, "MSG-024", "different ids of one dedup id in 3 queues")
    see_listed(env, queue, ids[:1], "MSG-024", "one dedup id posted to 3 queues: the first")
    see_listed(env, neighbour, ids[1:2], "MSG-024", "one dedup id posted to 3 queues: the second")
    see_listed(env, queue, ids[2:], "MSG-024", "one dedup id posted to 3 queues: in the other project", project=project)


@check("MSG-024")
def purge_forgets_dedup_ids(env: Env) -> None:
    """After a purge, or the deletion of the queue, a dedup id is stored as a new message."""
    queue = env.queue()
    given = [_post_once(env, queue, 1, "d")]
    ways: dict[str, Callable[[str], None]] = {"purge": env.storage.messages.purge}
    if keeps_records(env):
        ways["deletion of the queue"] = env.storage.queues.delete
    for what, way in ways.items():
        way(queue)
        fresh = _post_once(env, queue, what, "d")
        ensure(fresh not in given, "MSG-024", f"a dedup id posted after a {what} gave the old id {fresh!r}")
        see_listed(env, queue, [fresh], "MSG-024", f"a dedup id posted after a {what}")
        given.append(fresh)


@check("MSG-024")
def similar_dedup_ids_are_different(env: Env) -> None:
    """Dedup ids that differ in case, composition, spaces or pattern characters are different messages."""
    queue = env.queue()
    similar = [
        *("a", "A", "a ", " a", "a\n", "\u00e9", "e\u0301", "a%", "a_", "a*", "%", "_", "*", "'", '"', "0", "00", "-0"),
        *("x" * 128, "x" * 127, "\U0001f600" * 128, "\U0001f600" * 127, "None", "null", "a.b", "a:b", "a/b", "\uffff"),
    ]
    ids = [_post_once(env, queue, dedup_id, dedup_id) for dedup_id in similar]
    ensure_equal(len(set(ids)), len(similar), "MSG-024", f"different ids of {len(similar)} similar dedup ids")
    again = [_post_once(env, queue, "again", dedup_id) for dedup_id in similar]
    ensure_equal(again, ids, "MSG-024", f"ids of {len(similar)} similar dedup ids posted again")
    see_stats(env, queue, "MSG-024", f"{len(similar)} similar dedup ids, each posted twice", free=len(similar))


@check("MSG-024")
def thousands_of_dedup_ids_posted_again_store_nothing(env: Env) -> None:
    """A batch of thousands with dedup ids, posted again in another order, gives the same ids and stores nothing."""
    queue = env.queue()
    size = min(5_000, env.storage.limits.max_messages_per_post)
    batch = [NewMessage(number, ttl=LONG, dedup_id=f"d{number}") for number in range(size)]
    ids = env.storage.messages.post(queue, batch)
    order = env.rng.sample(range(size), size)
    again = env.storage.messages.post(queue, [batch[number] for number in order])
    different = difference(again, [ids[number] for number in order])
    ensure_equal(different, "", "MSG-024", f"difference of the ids of {size} dedup ids posted again in another order")
    see_listed(env, queue, ids, "MSG-024", f"{size} dedup ids posted twice")


# --- in order -----------------------------------------------------------------------------------------


@check("MSG-025")
def single_posts_are_listed_in_post_order(env: Env) -> None:
    """Hundreds of messages posted one after the other, as fast as can be, are listed in that order."""
    queue = env.queue()
    ids = [post(env, queue)[0] for _ in range(300)]
    see_listed(env, queue, ids, "MSG-025", "300 messages posted one by one")


@check("MSG-025")
def batches_are_listed_in_post_order(env: Env) -> None:
    """Batches and single posts of one producer, to several queues in turns, are listed in post order in each."""
    queues = [env.queue() for _ in range(3)]
    ids: dict[str, list[str]] = {queue: [] for queue in queues}
    for _ in range(60):
        queue = env.rng.choice(queues)
        batch = [NewMessage(1, ttl=env.rng.uniform(LONG, 2 * LONG)) for _ in range(env.rng.choice((1, 1, 2, 5, 40)))]
        ids[queue] += env.storage.messages.post(queue, batch)
    for queue, expected in ids.items():
        see_listed(env, queue, expected, "MSG-025", "batches and single posts to 3 queues in turns")


@check("MSG-025")
def order_survives_deletions_and_emptiness(env: Env) -> None:
    """Messages posted after others were deleted, or after the queue ran empty, come behind all that are there."""
    queue = env.queue()
    ids: list[str] = []
    for _ in range(30):
        ids += post(env, queue, env.rng.randint(1, 4))
        for _ in range(env.rng.randint(0, len(ids))):
            env.storage.messages.delete(queue, ids.pop(env.rng.choice((0, -1))))
        see_listed(env, queue, ids, "MSG-025", "messages posted and deleted at both ends in turns")


@check("MSG-025", "MSG-027", waits=True)
def equally_delayed_posts_are_listed_in_post_order(env: Env) -> None:
    """Messages posted one after the other with one delay are listed in post order once it is over."""
    queue = env.queue()
    ids = [one for _ in range(50) for one in post(env, queue, env.rng.choice((1, 3)), delay=BRIEF)]
    elapse(env, BRIEF)
    see_listed(env, queue, ids, "MSG-025", f"{len(ids)} messages posted with equal delay, after it")


# --- delayed ------------------------------------------------------------------------------------------


@check("MSG-027", waits=True)
def a_delayed_message_is_not_seen_before_its_time(env: Env) -> None:
    """Before its delay is over a message is neither listed nor shown first; from then on it is both."""
    queue = env.queue()
    before = time.monotonic()
    ids = post(env, queue, 2, delay=0.15)
    after = time.monotonic()

    def seen() -> bool:
        shown = ids_of(listed(env, queue))
        ensure_equal(shown, ids if shown else [], "MSG-027", "2 messages posted at once with one delay, listed")
        try:
            env.storage.messages.first(queue)
        except QueueIsEmpty:
            return bool(shown)
        return True

    turns(
        env,
        seen,
        earliest=before + 0.15,
        latest=after + 0.15,
        requirement="MSG-027",
        what="posted with a delay of 0.15 s; listed or shown first",
    )
    see_listed(env, queue, ids, "MSG-027", "2 messages whose delay is over")
    found = env.storage.messages.first(queue).id, env.storage.messages.first(queue, newest=True).id
    ensure_equal(found, (ids[0], ids[1]), "MSG-027", "first and newest of 2 messages whose delay is over")
    see_stats(env, queue, "MSG-027", "2 messages whose delay is over", free=2)


@check("MSG-027", "CLM-001", waits=True)
def a_delayed_message_is_not_claimed_before_its_time(env: Env) -> None:
    """Before its delay is over a message is not claimed, not even behind one that is; from then on it is."""
    queue = env.queue()
    before = time.monotonic()
    ids = env.storage.messages.post(queue, [NewMessage(delay, ttl=LONG, delay=delay) for delay in (0.15, 0)])
    after = time.monotonic()

    def claimed() -> bool:
        taken = ids_of(env.storage.claims.create(queue, limit=10).messages)
        return ids[0] in taken

    turns(
        env,
        claimed,
        earliest=before + 0.15,
        latest=after + 0.15,
        requirement="MSG-027",
        what="a message posted with a delay of 0.15 s before one without; it is claimed",
    )


@check("MSG-027", "POP-001", waits=True)
def a_delayed_message_is_not_popped_before_its_time(env: Env) -> None:
    """Before its delay is over a message is not popped, not even behind one that is; from then on it is."""
    queue = env.queue()
    before = time.monotonic()
    ids = env.storage.messages.post(queue, [NewMessage(delay, ttl=LONG, delay=delay) for delay in (0.15, 0)])
    after = time.monotonic()
    turns(
        env,
        lambda: ids[0] in ids_of(env.storage.messages.pop(queue, 10)),
        earliest=before + 0.15,
        latest=after + 0.15,
        requirement="MSG-027",
        what="a message posted with a delay of 0.15 s before one without; it is popped",
    )


@check("MSG-027", thorough=True)
def thousands_become_available_together(env: Env) -> None:
    """When the delay of thousands is over, the first listing, count and claim show them all."""
    many = min(env.depth, 5_000)
    queues = [env.queue() for _ in range(3)]
    ids = [post(env, queue, many, delay=BRIEF) for queue in queues]
    elapse(env, BRIEF)
    what = f"{many} messages whose delay is over"
    see_listed(env, queues[0], ids[0], "MSG-027", what)
    see_stats(env, queues[1], "MSG-027", what, free=many)
    if env.declares(Capability.CLAIMS):
        limit = min(many, env.storage.limits.max_messages_per_claim)
        taken = ids_of(env.storage.claims.create(queues[2], limit=limit).messages)
        ensure_equal(difference(taken, ids[2][:limit]), "", "MSG-027", f"difference of what is claimed of {what}")


@check("MSG-028", waits=True)
def a_delayed_message_stands_where_it_became_available(env: Env) -> None:
    """A delayed message comes after what was available before it, whatever was posted first, and before what is new."""
    queue = env.queue()
    delays = (0.2, 0, 0.1, 0.2, 0, 0.1)
    ids = env.storage.messages.post(queue, [NewMessage(delay, ttl=LONG, delay=delay) for delay in delays])
    order = [ids[place] for place in (1, 4, 2, 5, 0, 3)]
    see_listed(env, queue, order, "MSG-028", f"a batch with the delays {delays}", include_delayed=True)
    elapse(env, 0.2)
    see_listed(env, queue, order, "MSG-028", f"a batch with the delays {delays}, all over")
    order += post(env, queue, 2)
    see_listed(env, queue, order, "MSG-028", f"a batch with the delays {delays}, all over, and 2 new messages")
    ends = env.storage.messages.first(queue).id, env.storage.messages.first(queue, newest=True).id
    ensure_equal(ends, (order[0], order[-1]), "MSG-028", "first and newest of these")


@check("MSG-028", "CLM-001", waits=True)
def delayed_messages_are_claimed_by_position(env: Env) -> None:
    """Messages whose delay is over are claimed in the order in which they became available."""
    queue = env.queue()
    delays = (0.15, 0, 0.1)
    ids = env.storage.messages.post(queue, [NewMessage(delay, ttl=LONG, delay=delay) for delay in delays])
    elapse(env, 0.15)
    order = [ids[1], ids[2], ids[0], *post(env, queue)]
    taken = [one for _ in range(2) for one in ids_of(env.storage.claims.create(queue, limit=2).messages)]
    ensure_equal(
        taken, order, "MSG-028", f"claimed two by two: a batch with the delays {delays}, all over, and a new one"
    )


@check("MSG-029", waits=True)
def a_delayed_message_lives_from_its_post(env: Env) -> None:
    """The ttl of a delayed message counts from its post, not from the end of its delay."""
    queue = env.queue()
    before = time.monotonic()
    ids = post(env, queue, 1, ttl=0.3, delay=0.15)
    after = time.monotonic()
    turns(
        env,
        lambda: not env.storage.messages.bulk_get(queue, ids),
        earliest=before + 0.3,
        latest=after + 0.3,
        requirement="MSG-029",
        what="posted with a ttl of 0.3 s and a delay of 0.15 s; it is gone",
    )
    see_listed(env, queue, [], "MSG-029", "a delayed message that has expired", include_delayed=True)


@check("MSG-029", waits=True)
def a_delayed_message_ages_from_its_post(env: Env) -> None:
    """The age of a delayed message counts from its post, during its delay and after; its ttl is the one given."""
    queue = env.queue()
    before = time.monotonic()
    ids = post(env, queue, 1, ttl=LONG, delay=0.15)
    after = time.monotonic()
    see_fetched(env, queue, ids, ids, "MSG-009", "a delayed message")
    for when in ("during", "after"):
        asked = time.monotonic()
        found = env.storage.messages.get(queue, ids[0])
        low, high = max(0.0, asked - after - SLACK), time.monotonic() - before + SLACK
        seen = f"age of a message {when} its delay of 0.15 s: expected {low:.3f} to {high:.3f} s, got {found.age!r}"
        ensure(low <= found.age <= high, "MSG-029", seen)
        ensure_equal(found.ttl, LONG, "MSG-029", f"ttl of a message {when} its delay of 0.15 s")
        if when == "during":
            elapse(env, 0.15)
