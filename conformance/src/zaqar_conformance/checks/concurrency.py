"""Many clients at once, in threads and in processes: what holds for one alone must hold for all together."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from zaqar_conformance import judge
from zaqar_conformance.check import NotRun, check, ensure, ensure_equal
from zaqar_conformance.checks._clients import (
    LONG_LEASE,
    Busy,
    at_slots,
    demand_nothing_lost,
    everything,
    in_threads,
    of_queue,
    recorders,
    rngs,
    settle_time,
    settled,
    worker_recorders,
)
from zaqar_conformance.checks._support import rounds
from zaqar_conformance.env import Env
from zaqar_conformance.history import History
from zaqar_conformance.processes import Worker
from zaqar_conformance.recorder import Recorder
from zaqar_core import Capability, Message, NewMessage
from zaqar_core.contract import RecordStore, Space, new_id
from zaqar_core.errors import ClaimDoesNotExist, NotPermitted

_HERE = "zaqar_conformance.checks.concurrency"
_CONTESTED = "conformance"
"""The kind of the records that many write."""
_PERIOD = 0.02
"""Seconds between two moments at which processes meet."""
_LIFE = 0.2
"""Seconds that a message lives which a claim then keeps alive."""

# --- Messages -----------------------------------------------------------------------------------------


@check("MSG-019", thorough=True)
def deletions_stay_done_while_others_work(env: Env) -> None:
    """A message deleted while others claim, renew, release, fetch and list it is never seen again, nor counted."""
    queue = env.queue()
    clients = recorders(env, 5)
    for number in rounds(40):
        _delete_while_others_claim(env, queue, clients)
        if env.declares(Capability.CLAIMS):
            _delete_while_the_claim_changes(env, queue, clients, renew=bool(number % 2))
    found = everything(env, queue)
    judge.demand("MSG-019", judge.resurrected(env.history.operations, settle_time(env)))
    total = env.storage.messages.stats(queue).total
    ensure_equal(total, len(found), "MSG-019", "total of the statistics after deletions, beside how many are listed")


def _delete_while_others_claim(env: Env, queue: str, clients: list[Recorder]) -> None:
    ids = clients[0].post(queue, 6)

    def work(index: int) -> None:
        client = clients[index]
        if index == 0:
            _delete_each(client, queue, ids[:4], None)
        elif index == 1:
            client.bulk_delete(queue, ids[2:])
        elif index < 4 and env.declares(Capability.CLAIMS):
            claim = client.claim(queue, ttl=LONG_LEASE, limit=6)
            if claim.id is not None:
                client.release(queue, claim.id)
        else:
            client.get(queue, ids)
            client.list(queue, limit=20)

    env.threads(len(clients), work)
    clients[0].get(queue, ids)


def _delete_while_the_claim_changes(env: Env, queue: str, clients: list[Recorder], *, renew: bool) -> None:
    clients[0].post(queue, 6)
    claim = clients[0].claim(queue, ttl=LONG_LEASE, limit=6)
    ids, claim_id = [message.id for message in claim.messages], str(claim.id)

    def work(index: int) -> None:
        client = clients[index]
        if index == 0:
            _delete_each(client, queue, ids[:4], claim_id)
        elif index == 1:
            client.bulk_delete(queue, ids[2:5], claim_ids=[claim_id])
        elif renew:
            for _ in range(3):
                _unless_over(lambda: client.update(queue, claim_id, ttl=LONG_LEASE))
        elif index == 2:
            client.release(queue, claim_id, message_ids=ids[::-1])
        else:
            client.claim(queue, ttl=LONG_LEASE, limit=6)

    env.threads(len(clients), work)
    clients[0].get(queue, ids)
    clients[0].release(queue, claim_id)


@check("MSG-017", thorough=True)
def what_others_claim_meanwhile_is_not_deleted(env: Env) -> None:
    """Of a claim and a deletion without a claim at the same moment, one gets the message, never both."""
    if not env.declares(Capability.EXCLUSIVE_CLAIMS):
        env.note("not tried: the driver does not declare EXCLUSIVE_CLAIMS")
        return
    queue = env.queue()
    clients = recorders(env, 6)
    for _ in rounds(40):
        ids = clients[0].post(queue, 8)

        def work(index: int, ids: list[str] = ids) -> None:
            client = clients[index]
            if index == 0:
                _delete_each(client, queue, ids, None)
            elif index == 1:
                client.bulk_delete(queue, ids)
            else:
                client.claim(queue, ttl=LONG_LEASE, limit=2)

        env.threads(len(clients), work)
    judge.demand("MSG-017", judge.deleted_from_claims(env.history.operations))


@check("MSG-022", thorough=True)
def batches_are_seen_whole_while_they_are_posted(env: Env) -> None:
    """Listings, statistics and claims that run while batches are posted see each of them whole or not at all."""
    most = env.storage.limits.max_messages_per_post
    for size, batches in ((2, 20), (40, 10), (2_500, 1)):
        _post_while_looking(env, min(size, most), batches, claim=False)
        if env.declares(Capability.CLAIMS):
            _post_while_looking(env, min(size, most), batches, claim=True)
    judge.demand("MSG-022", judge.torn(env.history.operations))


@check("MSG-024", thorough=True)
def a_dedup_id_posted_by_many_at_once_stores_one_message(env: Env) -> None:
    """Clients that post batches with the same dedup ids at once all get the same message ids, stored once."""
    queue = env.queue()
    storages = [env.storage, env.connect()]
    generators = rngs(env, 8)
    expected = 0
    for number in range(25):
        names = [f"{number}-{part}" for part in range(3)]

        def work(index: int, names: list[str] = names) -> dict[str, str]:
            order = generators[index].sample(names, len(names))
            ids = storages[index % 2].messages.post(queue, [NewMessage(name, dedup_id=name) for name in order])
            ensure_equal(len(ids), len(order), "MSG-024", f"ids returned for a post of {len(order)} dedup ids")
            return dict(zip(order, ids, strict=True))

        given = env.threads(len(generators), work)
        for name in names:
            ids = {each[name] for each in given}
            what = f"8 clients posted dedup_id {name!r} at once: expected one message id for all, got {sorted(ids)}"
            ensure(len(ids) == 1, "MSG-024", what)
        expected += len(names)
    found = everything(env, queue)
    ensure_equal(
        len(found), expected, "MSG-024", f"messages stored for {expected} dedup ids, each posted 8 times at once"
    )


@check("MSG-026", thorough=True)
def post_order_is_claim_order_for_one_consumer_and_for_many(env: Env) -> None:
    """Messages of each of three producers are claimed in post order while they post, by one consumer and by five."""
    for consumers in (1, 5):
        queue = env.queue(f"consumers-{consumers}")
        clients = recorders(env, 3 + consumers)
        generators = rngs(env, len(clients))
        running = _Running(3)

        def work(
            index: int,
            queue: str = queue,
            clients: list[Recorder] = clients,
            generators: list[random.Random] = generators,
            running: _Running = running,
        ) -> None:
            client, rng = clients[index], generators[index]
            if index < 3:
                with running:
                    for _ in rounds(30):
                        client.post(queue, rng.randint(1, 4))
            else:
                _claim_until_done(client, rng, queue, running)

        env.threads(len(clients), work)
    judge.demand("MSG-026", judge.claimed_out_of_order(env.history.operations, settle_time(env)))


@check("MSG-012", thorough=True)
def gc_while_others_work_removes_nothing_alive(env: Env) -> None:
    """``gc`` in a loop while others post, claim and let expire takes no live message and ends no claim."""
    queue, keeping = env.queue(), env.queue("kept")
    clients = recorders(env, 5)
    generators = rngs(env, len(clients))
    claims = env.declares(Capability.CLAIMS)
    running = _Running(3)
    kept: list[str] = []

    def work(index: int) -> None:
        client = clients[index]
        if index < 2:
            with running:
                if claims:
                    Busy(client, generators[index], queue).run(100)
                else:
                    _post_and_delete(client, queue, 60)
        elif index == 2:
            with running:
                kept.extend(_post_what_expires(client, queue, keeping, claims=claims))
        else:
            while running:
                client.storage.gc()
                _pause(generators[index])

    env.threads(len(clients), work)
    over = time.monotonic() + _LIFE + 0.01
    env.wait_for(time.monotonic, lambda now: now >= over, "TIM-001", "the machine's clock stands still")
    for _ in range(2):
        env.storage.gc()
    found = everything(env, queue)
    judge.demand("MSG-012", judge.lost(of_queue(env, queue), found))
    missing = set(kept) - {message.id for message in env.storage.messages.bulk_get(keeping, kept)}
    what = f"{len(missing)} of {len(kept)} messages are gone whose ttl is over but that a live claim holds: {missing}"
    ensure(not missing, "MSG-012", what)
    if env.declares(Capability.EXCLUSIVE_CLAIMS):
        judge.demand("MSG-012", judge.claimed_twice(env.history.operations))


# --- Listing ------------------------------------------------------------------------------------------


@check("LST-010", thorough=True)
def markers_show_everything_once_while_producers_post(env: Env) -> None:
    """Listings with small pages, begun before and during the posts, show every message exactly once."""
    _list_while_others_post(env)
    judge.demand("LST-010", judge.marker_faults(env.history.operations))


@check("MSG-025", thorough=True)
def listings_are_in_post_order_while_producers_post(env: Env) -> None:
    """Listings, begun before and during the posts of several producers, show each one's messages in post order."""
    _list_while_others_post(env)
    judge.demand("MSG-025", judge.listed_out_of_order(env.history.operations))


def _list_while_others_post(env: Env, producers: int = 4) -> None:
    queue = env.queue()
    clients = recorders(env, producers + 3)
    generators = rngs(env, len(clients))
    elsewhere = env.declares(Capability.MULTI_PROCESS)
    running = _Running(producers + elsewhere)

    def work(index: int) -> None:
        client, rng = clients[index], generators[index]
        if index < producers:
            with running:
                _produce(client, rng, queue, 50)
        elif index == producers and elsewhere:
            with running:
                env.processes(2, f"{_HERE}:produce", {"queue": queue, "posts": 40})
        else:
            _follow(client, rng, queue, running)

    env.threads(len(clients), work)


def produce(worker: Worker, queue: str, posts: int) -> None:
    """In a process: two threads post."""
    clients = worker_recorders(worker, 2)
    generators = [random.Random(worker.rng.random()) for _ in clients]
    in_threads(2, lambda index: _produce(clients[index], generators[index], queue, posts))


# --- Pop ----------------------------------------------------------------------------------------------


@check("POP-004", thorough=True)
def pops_at_once_share_out_the_messages(env: Env) -> None:
    """Eight clients that pop at random while two post get every message exactly once."""
    queue = env.queue()
    clients = recorders(env, 10)
    generators = rngs(env, len(clients))
    running = _Running(2)

    def work(index: int) -> None:
        client, rng = clients[index], generators[index]
        if index < 2:
            with running:
                for _ in rounds(60):
                    client.post(queue, rng.randint(1, 8))
        else:
            _pop_until_done(client, rng, queue, running)

    env.threads(len(clients), work)
    judge.demand("POP-004", judge.popped_twice(env.history.operations))
    found = everything(env, queue)
    judge.demand("POP-004", judge.lost(of_queue(env, queue), found))


# --- Claims -------------------------------------------------------------------------------------------


@check("CLM-002", thorough=True)
def nobody_is_told_none_while_messages_remain(env: Env) -> None:
    """Eight clients that claim at once until they are told None are not told so while some message is active."""
    clients = recorders(env, 8)
    generators = rngs(env, len(clients))
    for number in rounds(16):
        queue = env.queue()
        clients[0].post(queue, 40 if number % 2 else 8)
        settled(env)

        def work(index: int, queue: str = queue, most: int = 3 if number % 2 else 1) -> None:
            for _ in range(100):
                claim = clients[index].claim(queue, ttl=LONG_LEASE, limit=generators[index].randint(1, most))
                if claim.id is None:
                    return
                if generators[index].random() < 0.1:
                    clients[index].release(queue, claim.id)

        env.threads(len(clients), work)
    judge.demand("CLM-002", judge.told_none(env.history.operations, settle_time(env)))


@check("CLM-018")
def no_message_is_in_two_claims_of_clients_that_claim_together(env: Env) -> None:
    """Of eight clients that claim at the same moment, again and again, no two hold the same message."""
    queue = env.queue()
    clients = recorders(env, 8)
    generators = rngs(env, len(clients))
    clients[0].post(queue, 30)
    barrier = threading.Barrier(len(clients))

    def work(index: int) -> None:
        client, rng = clients[index], generators[index]
        with _aborting(barrier):
            for _ in range(25):
                barrier.wait(30.0)
                claim = client.claim(queue, ttl=LONG_LEASE, limit=rng.randint(1, 10))
                barrier.wait(30.0)  # all hold what they have claimed
                if claim.id is not None:
                    client.release(queue, claim.id)

    env.threads(len(clients), work)
    judge.demand("CLM-018", judge.claimed_twice(env.history.operations))


@check("CLM-018", thorough=True)
def no_message_is_in_two_claims_whatever_others_do(env: Env) -> None:
    """Eight clients claim, renew, release, delete and let expire at random; no message is in two live claims."""
    queue = env.queue()
    clients = recorders(env, 8)
    generators = rngs(env, len(clients))
    clients[0].post(queue, 40)
    env.threads(8, lambda index: Busy(clients[index], generators[index], queue).run(100))
    judge.demand("CLM-018", judge.claimed_twice(env.history.operations))


@check("CLM-019", thorough=True)
def no_message_is_in_a_claim_and_a_pop(env: Env) -> None:
    """Eight clients claim, pop, release and let expire at random; no message is in a live claim and a pop."""
    queue = env.queue()
    clients = recorders(env, 8)
    generators = rngs(env, len(clients))
    clients[0].post(queue, 40)
    env.threads(8, lambda index: Busy(clients[index], generators[index], queue, posts=0.6, pops=0.4).run(100))
    judge.demand("CLM-019", judge.claimed_and_popped(env.history.operations))


# --- Statistics ---------------------------------------------------------------------------------------


@check("STA-003", thorough=True)
def statistics_are_true_while_messages_move(env: Env) -> None:
    """Statistics read while others post, claim, release, delete and let expire are true at an instant."""
    for deletes in (False, True):
        queue = env.queue()
        clients = recorders(env, 8)
        generators = rngs(env, len(clients))
        clients[0].post(queue, 60)
        running = _Running(5)

        def work(
            index: int,
            queue: str = queue,
            clients: list[Recorder] = clients,
            generators: list[random.Random] = generators,
            running: _Running = running,
            deletes: bool = deletes,
        ) -> None:
            client, rng = clients[index], generators[index]
            if index >= 5:
                while running:
                    client.stats(queue)
                    _pause(rng)
                return
            with running:
                if env.declares(Capability.CLAIMS):
                    Busy(client, rng, queue, posts=0.3 if deletes else 0.0, deletes=deletes).run(50)
                else:
                    _post_and_delete(client, queue, 30)

        env.threads(len(clients), work)
        left = len(everything(env, queue))
        total = clients[0].stats(queue).total
        ensure_equal(total, left, "STA-003", "total of the statistics, once quiet, beside how many messages are listed")
    judge.demand("STA-003", judge.miscounted(env.history.operations))


# --- Queues and records -------------------------------------------------------------------------------


@check("QUE-002", thorough=True)
def one_of_many_creators_of_a_queue_wins(env: Env) -> None:
    """``create`` says True to exactly one of many at once: of eight threads, and of four processes with two each."""
    for _ in rounds(30):
        queue = env.queue()
        clients = recorders(env, 8, [env.storage])
        env.threads(8, partial(_create, clients, queue))
    judge.demand("QUE-002", judge.winners(env.history.operations))
    if not env.declares(Capability.MULTI_PROCESS):
        env.note("in threads only: the driver does not declare MULTI_PROCESS")
        return
    env.processes(4, f"{_HERE}:create_queues", {"prefix": new_id(), "count": 25})
    judge.demand("QUE-002", judge.winners(env.history.operations))


def _create(clients: list[Recorder], queue: str, index: int) -> None:
    clients[index].create_queue(queue)


def create_queues(worker: Worker, prefix: str, count: int) -> None:
    """In a process: two threads create queues at the moments at which the other processes create them too."""
    clients = worker_recorders(worker, 2)

    def work(index: int) -> None:
        at_slots(count, _PERIOD, lambda slot: clients[index].create_queue(f"{prefix}-{slot}"))

    in_threads(2, work)


@check("QUE-007", thorough=True)
def queue_listings_are_complete_while_others_come_and_go(env: Env) -> None:
    """Listings by markers show each queue that exists throughout exactly once, in order, while others come and go."""
    clients = recorders(env, 6)
    generators = rngs(env, len(clients))
    for number in range(30):
        clients[0].create_queue(f"{number:03}-stays")
    settled(env)
    running = _Running(3)

    def work(index: int) -> None:
        client, rng = clients[index], generators[index]
        if index < 3:
            with running:
                mine: deque[str] = deque()
                for number in rounds(80):
                    mine.append(f"{rng.randrange(30):03}-{rng.choice('az')}-{index}-{number}")
                    client.create_queue(mine[-1])
                    if len(mine) > 10:
                        client.delete_queue(mine.popleft())
        else:
            while running:
                _list_queues(client, rng)
                _pause(rng)

    env.threads(len(clients), work)
    _list_queues(clients[-1], generators[-1])
    judge.demand("QUE-007", judge.queue_listing_faults(env.history.operations))


@check("REC-008", thorough=True)
def one_of_many_writers_of_a_record_wins(env: Env) -> None:
    """Of inserts of a key, replaces or deletes of a version at once one wins, in threads and in processes."""
    records = env.storage.control.records
    if records is None:
        raise NotRun("the driver keeps no records")
    contest = _Contest(records, env.space(_CONTESTED), env.history)
    for number in range(15):
        env.threads(8, partial(contest.insert, key=f"new-{number}"))
        for write in (contest.replace, contest.delete):
            key = f"{write.__name__}-{number}"
            env.threads(8, partial(write, key=key, version=contest.prepare(key)))
    judge.demand("REC-008", judge.winners(env.history.operations))
    if not env.declares(Capability.MULTI_PROCESS):
        env.note("in threads only: the driver does not declare MULTI_PROCESS")
        return
    replaced = {f"replaced-{number}": contest.prepare(f"replaced-{number}") for number in range(15)}
    deleted = {f"deleted-{number}": contest.prepare(f"deleted-{number}") for number in range(15)}
    env.processes(4, f"{_HERE}:contest_records", {"replaced": replaced, "deleted": deleted})
    judge.demand("REC-008", judge.winners(env.history.operations))


def contest_records(worker: Worker, replaced: Mapping[str, str], deleted: Mapping[str, str]) -> None:
    """In a process: insert, replace and delete at the moments at which the other processes do so too."""
    records = worker.storage.control.records
    assert records is not None
    contest = _Contest(records, Space(_CONTESTED, worker.project), worker.history)
    inserts = [partial(contest.insert, worker.index, f"inserted-{number}") for number in range(15)]
    replaces = [partial(contest.replace, worker.index, key, version) for key, version in replaced.items()]
    deletes = [partial(contest.delete, worker.index, key, version) for key, version in deleted.items()]
    calls = [*inserts, *replaces, *deletes]
    at_slots(len(calls), _PERIOD, lambda slot: calls[slot]())


class _Contest:
    """Recorded writes of records of one space."""

    def __init__(self, records: RecordStore, space: Space, history: History) -> None:
        self._records = records
        self._space = space
        self._history = history

    def prepare(self, key: str) -> str:
        """Insert a record to contest; its version."""
        return str(self._records.insert(self._space, key, b"0", nonce=new_id()))

    def insert(self, client: int, key: str) -> None:
        with self._history.call(f"client-{client}", "records.insert", key) as call:
            call.result = self._records.insert(self._space, key, b"%d" % client, nonce=new_id())

    def replace(self, client: int, key: str, version: str) -> None:
        with self._history.call(f"client-{client}", "records.replace", key, version=version) as call:
            value = b"%d" % client
            call.result = self._records.replace(self._space, key, value, version=version, nonce=new_id())

    def delete(self, client: int, key: str, version: str) -> None:
        with self._history.call(f"client-{client}", "records.delete", key, version=version) as call:
            call.result = self._records.delete(self._space, key, version=version)


# --- One storage, many processes ----------------------------------------------------------------------


@check("FAI-004")
def threads_on_one_storage_see_their_own_arguments_and_results(env: Env) -> None:
    """Eight threads with a queue and a client id each, on one ``Storage``: each sees exactly what it alone did."""
    queues = [env.queue(f"thread-{index}") for index in range(8)]
    env.threads(8, lambda index: _work_alone(env, queues[index], f"client-{index}", index))


@check("FAI-004", thorough=True)
def threads_on_one_storage_share_a_queue(env: Env) -> None:
    """Eight threads that work at random on one queue through one ``Storage`` lose no message and leave none stuck."""
    queue = env.queue()
    clients = recorders(env, 8, [env.storage])
    generators = rngs(env, len(clients))
    clients[0].post(queue, 40)
    if env.declares(Capability.CLAIMS):
        env.threads(8, lambda index: Busy(clients[index], generators[index], queue).run(80))
    else:
        env.threads(8, lambda index: _post_and_delete(clients[index], queue, 40))
    demand_nothing_lost(env, queue, "FAI-004")
    judge.demand("FAI-004", judge.resurrected(env.history.operations, settle_time(env)))


@check("FAI-009", thorough=True)
def processes_share_a_queue(env: Env) -> None:
    """Four processes with two threads each post, claim, pop and delete: nothing is lost, stuck, or processed twice."""
    queue, sign = env.queue(), env.queue("sign")
    env.storage.messages.post(sign, [NewMessage("here")])
    Recorder(env.storage, env.history, "parent").post(queue, 40)
    settled(env)
    pops = 0.2 if env.declares(Capability.POP) else 0.0
    seen = env.processes(4, f"{_HERE}:share", {"queue": queue, "sign": sign, "steps": 80, "pops": pops})
    ensure(all(seen), "FAI-009", "another process did not see a message that this one had posted before it began")
    operations = env.history.operations
    if env.declares(Capability.EXCLUSIVE_CLAIMS):
        judge.demand("FAI-009", judge.claimed_twice(operations))
        judge.demand("FAI-009", judge.claimed_and_popped(operations))
        judge.demand("FAI-009", judge.popped_twice(operations))
    judge.demand("FAI-009", judge.resurrected(operations, settle_time(env)))
    demand_nothing_lost(env, queue, "FAI-009")


def share(worker: Worker, queue: str, sign: str, steps: int, pops: float) -> bool:
    """In a process: two threads work at random on the queue; whether the sign, posted by another process, is there."""
    if not worker.storage.messages.list(sign).items:
        return False
    clients = worker_recorders(worker, 2)
    generators = [random.Random(worker.rng.random()) for _ in clients]
    in_threads(2, lambda index: Busy(clients[index], generators[index], queue, pops=pops).run(steps))
    return True


# --- What the threads do ------------------------------------------------------------------------------


class _Running:
    """True while one of ``count`` threads is still in a ``with`` block of it, or has not come to it."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return self._left > 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._left -= 1


def _pause(rng: random.Random) -> None:
    """Let others work, so that what looks again and again does not keep them from it."""
    time.sleep(rng.uniform(0.0, 0.002))


@contextmanager
def _aborting(barrier: threading.Barrier) -> Iterator[None]:
    """Let nobody wait for a thread that failed."""
    try:
        yield
    except BaseException:
        barrier.abort()
        raise


def _produce(client: Recorder, rng: random.Random, queue: str, posts: int) -> None:
    """Post, and now and then delete a message posted before, so that what lies behind a marker changes too."""
    ids: list[str] = []
    for _ in range(posts):
        ids += client.post(queue, rng.randint(1, 4))
        if rng.random() < 0.4:
            client.delete(queue, ids.pop(rng.randrange(len(ids))))


def _follow(client: Recorder, rng: random.Random, queue: str, running: _Running) -> None:
    marker, more, posting = None, True, True
    while more or posting:
        posting = bool(running)
        page = client.list(queue, marker=marker, limit=rng.randint(1, 15))
        marker, more = page.marker, page.more
        if not more:
            _pause(rng)


def _claim_until_done(client: Recorder, rng: random.Random, queue: str, running: _Running) -> None:
    posting, claim_id = True, None
    while posting or claim_id is not None:
        posting = bool(running)
        claim = client.claim(queue, ttl=LONG_LEASE, limit=rng.randint(1, 7))
        claim_id = claim.id
        if claim_id is not None:
            if rng.random() < 0.25:
                client.release(queue, claim_id)
            else:
                client.bulk_delete(queue, [message.id for message in claim.messages], claim_ids=[claim_id])


def _pop_until_done(client: Recorder, rng: random.Random, queue: str, running: _Running) -> None:
    posting, popped = True, True
    while posting or popped:
        posting = bool(running)
        popped = bool(client.pop(queue, rng.randint(1, 6)))


def _post_while_looking(env: Env, size: int, batches: int, *, claim: bool) -> None:
    """Two clients post batches of one size; one counts, and one lists or claims all there is, until they are done."""
    queue = env.queue()
    clients = recorders(env, 4)
    running = _Running(2)
    limits = env.storage.limits

    def work(index: int) -> None:
        client = clients[index]
        if index < 2:
            with running:
                for _ in rounds(batches):
                    client.post(queue, size)
            return
        while running:
            if index == 2:
                total = client.stats(queue).total
                what = f"stats while batches of {size} are posted: expected a total that they divide, got {total}"
                ensure(total % size == 0, "MSG-022", what)
            elif claim:
                client.claim(queue, ttl=LONG_LEASE, limit=limits.max_messages_per_claim)
            else:
                client.list(queue, limit=limits.max_messages_per_page)

    env.threads(len(clients), work)


def _post_what_expires(client: Recorder, queue: str, kept: str, *, claims: bool) -> list[str]:
    """Post messages that expire soon, and to the queue ``kept`` some that a claim keeps alive; the latter's ids."""
    held: list[str] = []
    for _ in rounds(20):
        client.post(queue, 5, ttl=0.02)
        client.post(kept, 3, ttl=_LIFE)
        if claims:
            held += [message.id for message in client.claim(kept, ttl=LONG_LEASE, limit=3).messages]
    return held


def _post_and_delete(client: Recorder, queue: str, count: int) -> None:
    for _ in rounds(count):
        ids = client.post(queue, 3)
        client.delete(queue, ids[0])
        client.bulk_delete(queue, ids[1:2])


def _delete_each(client: Recorder, queue: str, ids: list[str], claim_id: str | None) -> None:
    for message_id in ids:
        with suppress(NotPermitted, ClaimDoesNotExist):
            client.delete(queue, message_id, claim_id=claim_id)


def _unless_over(call: Callable[[], object]) -> None:
    """Ignore that the claim is over: others have deleted or released all that it held."""
    with suppress(ClaimDoesNotExist):
        call()


def _list_queues(client: Recorder, rng: random.Random) -> None:
    marker, more = None, True
    while more:
        page = client.list_queues(marker=marker, limit=rng.randint(1, 9))
        marker, more = page.marker, page.more


def _work_alone(env: Env, queue: str, client_id: str, index: int) -> None:
    """Work on a queue that nobody else uses, and compare every answer with what this thread alone did."""
    messages = env.storage.messages
    patient = not env.declares(Capability.CONSISTENT_READS)
    for number in range(12):
        bodies = [f"{client_id}/{number}/{part}" for part in range(1 + index)]
        batch = [NewMessage(body, headers={"of": client_id}) for body in bodies]
        ids = messages.post(queue, batch, client_id=client_id)
        ensure_equal(len(ids), len(bodies), "FAI-004", f"ids returned to {client_id} for {len(bodies)} messages")
        expected: list[_Told] = [(ids[part], body, client_id, {"of": client_id}) for part, body in enumerate(bodies)]
        _see(env, partial(messages.bulk_get, queue, ids), expected, f"bulk_get by {client_id}")
        _see(env, lambda: messages.list(queue, limit=20).items, expected, f"list by {client_id}")
        if env.declares(Capability.CLAIMS) and not patient:
            claim = env.storage.claims.create(queue, limit=20)
            ensure_equal(_told(claim.messages), expected, "FAI-004", f"claim by {client_id} of all its messages")
            refused = messages.bulk_delete(queue, ids, claim_ids=[str(claim.id)])
        else:
            refused = messages.bulk_delete(queue, ids)
        ensure_equal(refused, [], "FAI-004", f"deletions refused to {client_id}, which alone uses its queue")
        env.see(
            lambda: messages.stats(queue).total, lambda total: total == 0, "FAI-004", f"stats.total of {client_id}: 0"
        )


def _see(env: Env, read: Callable[[], Sequence[Message]], expected: list[_Told], what: str) -> None:
    env.see(lambda: _told(read()), lambda seen: seen == expected, "FAI-004", f"{what}: expected {expected}")


_Told = tuple[str, Any, str, Mapping[str, str]]


def _told(messages: Sequence[Message]) -> list[_Told]:
    return [(message.id, message.body, message.client_id, dict(message.headers)) for message in messages]
