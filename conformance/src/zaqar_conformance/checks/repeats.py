"""Checks of what drivers try again while their datastore stands still: none of it may happen twice."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress

from zaqar_conformance.check import check, ensure
from zaqar_conformance.checks._support import elapse, listed, post
from zaqar_conformance.env import Env
from zaqar_core import Capability, NewMessage
from zaqar_core.errors import StorageError

_CLIENTS = 16
_TIMEOUT = 0.25
"""Seconds: of the clients; the datastore stands still for longer."""
_STILL = 0.4
_STILLS = 6
_BETWEEN = 0.03
_QUEUES = 20
"""For each client, to claim or pop from once each."""
_MESSAGES = 6
_LIMIT = 2


@check("FAI-012", destructive=True, thorough=True)
def what_was_not_answered_happened_at_most_once(env: Env) -> None:
    """While the datastore stands still now and then, each post, claim and pop is done once, or not at all."""
    posted = env.queue("posted")
    taken = [[env.queue("taken") for _ in range(_QUEUES)] for _ in range(_CLIENTS)]
    for queue in (queue for queues in taken for queue in queues):
        post(env, queue, _MESSAGES)
    over = threading.Event()

    def work(index: int) -> None:
        if index == _CLIENTS:
            try:
                for _ in range(_STILLS):
                    with env.target.blocked(env.uri):
                        elapse(env, _STILL)
                    elapse(env, _BETWEEN)
            finally:
                over.set()
            return
        storage = env.connect(timeout=_TIMEOUT)
        for number, queue in enumerate(taken[index]):
            if over.is_set():
                return
            with suppress(StorageError):
                if index % 4 == 0:
                    storage.messages.post(posted, [NewMessage(f"{index}-{number}")])
                elif number % 2 and env.declares(Capability.POP):
                    storage.messages.pop(queue, _LIMIT)
                elif env.declares(Capability.CLAIMS):
                    storage.claims.create(queue, ttl=600, limit=_LIMIT)

    env.threads(_CLIENTS + 1, work)
    env.wait_for(env.storage.is_alive, bool, "FAI-002", "is_alive once the datastore serves again, expected True")
    copies = Counter(message.body for message in listed(env, posted))
    twice = {body: count for body, count in copies.items() if count > 1}
    ensure(not twice, "FAI-012", f"copies of messages posted once: {twice}; expected at most one of each")
    for queue in (queue for queues in taken for queue in queues):
        left = len(listed(env, queue))
        what = f"a queue of {_MESSAGES}, of which one claim or pop with limit={_LIMIT} took some, lists {left}"
        ensure(left >= _MESSAGES - _LIMIT, "FAI-012", f"{what}; expected at least {_MESSAGES - _LIMIT}")
