"""What an asynchronous failover loses: a primary is killed amid posts, claims and deletions, and Sentinel promotes.

Each round starts a primary, a replica and a Sentinel, lets clients work, kills the primary with ``kill -9``, lets the
clients go on with the promoted replica, and compares what they were told with what is there. In every second round the
replica's link to the primary is down for a moment before the kill. Prints a row a round, and sums.

    python bench/redis_failover.py [--rounds 10] [--clients 4] [--behind 0.2]

Needs zaqar-conformance, and a Redis or Valkey server as the conformance target finds it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from zaqar_conformance.servers import free_port
from zaqar_core.contract import EncodedMessage, QueueKey, new_id
from zaqar_core.errors import OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import RedisSentinelTarget, plain_client, wait_until

WORKS = 1.0
"""Seconds for which clients work before the kill, and after the promotion."""
LEASE = 600.0
"""Seconds: no claim ends by itself, so that whatever is claimed again was claimed twice."""
COLUMNS = ("posted", "lost", "deleted", "undone", "claimed", "twice", "unknown")


class Client:
    """Posts three messages, claims two, deletes one of these; again and again. Keeps what it was told."""

    def __init__(self, driver: RedisDriver, queue: QueueKey) -> None:
        self.driver = driver
        self.queue = queue
        self.posted: list[tuple[float, str]] = []
        """When the answer came, by ``time.monotonic()``, and the id; so are the others."""
        self.claimed: list[tuple[float, str]] = []
        self.deleted: list[tuple[float, str]] = []
        self.unknown = 0

    def work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._turn()
            except OutcomeUnknown:
                self.unknown += 1
            except StorageUnavailable:
                pass  # nothing was done

    def _turn(self) -> None:
        batch = [EncodedMessage(b'{"n":1}', LEASE)] * 3
        self._told(self.posted, self.driver.messages.post(self.queue, batch, client_id="c"))
        claim = self.driver.claims.create(self.queue, ttl=LEASE, grace=LEASE, limit=2)
        ids = [message.id for message in claim.messages]
        self._told(self.claimed, ids)
        if not self.driver.messages.delete(self.queue, ids[:1], claim_ids=[str(claim.id)]):
            self._told(self.deleted, ids[:1])

    def _told(self, what: list[tuple[float, str]], ids: list[str]) -> None:
        now = time.monotonic()
        what += ((now, each) for each in ids)


def main() -> None:
    options = read_arguments()
    print("| round | replica | " + " | ".join(COLUMNS) + " | seconds without posts |")
    print("|---|---|" + "---|" * (len(COLUMNS) + 1))
    sums: dict[str, Counter[str]] = {"up to date": Counter(), f"{options.behind:g} s behind": Counter()}
    pauses: list[float] = []
    for number in range(options.rounds):
        kind = list(sums)[number % 2]
        counts, pause = play(options.clients, options.behind if number % 2 else 0.0)
        sums[kind].update(counts)
        pauses.append(pause)
        print_row(str(number + 1), kind, counts, f"{pause:.2f}")
    for kind, counts in sums.items():
        print_row("all", kind, counts, f"{min(pauses):.2f} to {max(pauses):.2f}")


def play(clients: int, behind: float) -> tuple[Counter[str], float]:
    """One round: what was counted, and for how long nobody could post."""
    with servers() as (target, uri), closing(opened(uri)) as driver:
        queue = QueueKey(new_id(), "queue")
        works = [Client(driver, queue) for _ in range(clients)]
        stop = threading.Event()
        threads = [threading.Thread(target=each.work, args=[stop]) for each in works]
        for thread in threads:
            thread.start()
        time.sleep(WORKS)
        killed = kill_primary(target, behind)
        wait_until(lambda: any(each.posted[-1][0] > killed + 0.1 for each in works), "a client posts again")
        time.sleep(WORKS)
        stop.set()
        for thread in threads:
            thread.join()
        again = min(moment for each in works for moment, _ in each.posted if moment > killed + 0.1)
        return judge(works, driver, queue), again - killed


def kill_primary(target: RedisSentinelTarget, behind: float) -> float:
    """At what moment; the replica has heard nothing for ``behind`` seconds then.

    Stopping its process would not do: the kernel keeps for it what the primary sends.
    """
    address = target._primary()
    [primary] = (server for server in target.started() if server.port == address)
    [replica] = (server for server in target.started() if server.port != address)
    if behind:
        with closing(plain_client(replica.port)) as client:
            client.replicaof("127.0.0.1", str(free_port()))
        time.sleep(behind)
    primary.kill()
    return time.monotonic()


def judge(clients: list[Client], driver: RedisDriver, queue: QueueKey) -> Counter[str]:
    """Compare what clients were told with what is there."""
    posted = {each for client in clients for _, each in client.posted}
    deleted = {each: moment for client in clients for moment, each in client.deleted}
    claims = [(each, moment) for client in clients for moment, each in client.claimed]
    there = set(listed(driver, queue))
    undone = {each for each in deleted if each in there}
    undone |= {each for each, moment in claims if moment > deleted.get(each, moment)}
    times = Counter(each for each, _ in claims)
    return Counter(
        posted=len(posted),
        lost=len(posted - there - set(deleted)),
        deleted=len(deleted),
        undone=len(undone),
        claimed=len(times),
        twice=sum(count > 1 for count in times.values()),
        unknown=sum(client.unknown for client in clients),
    )


def listed(driver: RedisDriver, queue: QueueKey) -> Iterator[str]:
    marker, more = None, True
    while more:
        page = driver.messages.list(
            queue, marker=marker, limit=1_000, exclude_client=None, include_claimed=True, include_delayed=True
        )
        yield from (message.id for message in page.items)
        marker, more = page.marker, page.more


@contextmanager
def servers() -> Iterator[tuple[RedisSentinelTarget, str]]:
    """A primary whose replica has everything, and a Sentinel."""
    target = RedisSentinelTarget()
    with tempfile.TemporaryDirectory(prefix="zaqar-failover-") as folder:
        try:
            uri = target.start(Path(folder))
            with closing(plain_client(target._primary())) as client:
                client.set("filler", "x")
                wait_until(lambda: client.wait(1, 100) == 1, "the replica has everything")
            yield target, uri
        finally:
            target.stop()


def opened(uri: str) -> RedisDriver:
    return RedisDriver.open(Uri.parse(uri), connect_timeout=10, timeout=10)


def print_row(number: str, kind: str, counts: Counter[str], pause: str) -> None:
    print(f"| {number} | {kind} | " + " | ".join(str(counts[name]) for name in COLUMNS) + f" | {pause} |", flush=True)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--behind", type=float, default=0.2, help="seconds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
