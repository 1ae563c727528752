"""OpenStack Zaqar's own Redis driver as a child process, for redis_cost.py: it has dependencies of its own.

    python bench/redis_peer.py PORT

Each line of its input is a JSON array of operations, each of them an array of its name and arguments. Each line of its
output is an array of the seconds that each operation took. Needs ``pip install zaqar==23.0.1``.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable
from typing import Any

from oslo_config import cfg
from oslo_log import log
from zaqar import bootstrap

CONFIG = """
[DEFAULT]
auth_strategy =
unreliable = True
[drivers]
transport = wsgi
message_store = redis
management_store = redis
[drivers:message_store:redis]
uri = redis://127.0.0.1:{port}?socket_timeout=60
[drivers:management_store:redis]
uri = redis://127.0.0.1:{port}?socket_timeout=60
"""
AT_ONCE = 3000
"""It cannot post 3 999 at once."""
DAY = 24 * 3600


class Peer:
    """The operations of its drivers on one queue, each checked, by the names of those in redis_cost.py."""

    project = "bench"

    def __init__(self, port: int) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(CONFIG.format(port=port))
            file.flush()
            conf = cfg.ConfigOpts()
            log.register_options(conf)
            conf(args=[], project="zaqar", default_config_files=[file.name])
            storage = bootstrap.Bootstrap(conf).storage
        self._queues = storage.queue_controller
        self._messages = storage._storage.message_controller
        self._claims = storage._storage.claim_controller
        self._client = uuid.uuid4()
        self._body: Any = None
        self._queue = ""
        self._claimed: list[str] = []

    def begin(self, queue: str, body: Any) -> None:
        self._queue, self._body = queue, body
        self._queues.create(queue, project=self.project)

    def fill(self, count: int, state: str) -> None:
        """Put so many messages ahead, under live claims if ``state`` is ``claimed``, and some behind them."""
        for start in range(0, count, AT_ONCE):
            some = min(AT_ONCE, count - start)
            self.post(some, ttl=DAY)
            if state == "claimed":
                self.claim(some, ttl=DAY)
        self.post(20)

    def post(self, count: int, ttl: int = 3600) -> None:
        messages = [{"ttl": ttl, "body": self._body} for _ in range(count)]
        assert len(self._messages.post(self._queue, messages, self._client, project=self.project)) == count

    def list(self, count: int) -> None:
        found = self._messages.list(self._queue, project=self.project, limit=count, echo=True, client_uuid=self._client)
        assert len(list(next(found))) == count

    def claim(self, count: int, ttl: int = 300) -> None:
        _, messages = self._claims.create(self._queue, {"ttl": ttl, "grace": 60}, project=self.project, limit=count)
        self._claimed = [message["id"] for message in messages]
        assert len(self._claimed) == count

    def bulk_delete(self, _: int) -> None:
        self._messages.bulk_delete(self._queue, self._claimed, project=self.project)

    def pop(self, count: int) -> None:
        assert len(list(self._messages.pop(self._queue, count, project=self.project))) == count

    def stats(self, _: int) -> None:
        assert self._queues.stats(self._queue, project=self.project)["messages"]["total"]


def main() -> None:
    """Do what is asked, line by line."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    peer = Peer(int(sys.argv[1]))
    for line in sys.stdin:
        spent = []
        for name, *arguments in json.loads(line):
            operation: Callable[..., object] = getattr(peer, name)
            began = time.perf_counter()
            operation(*arguments)
            spent.append(time.perf_counter() - began)
        print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
