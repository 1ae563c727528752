"""A fork in the middle of a call, as a signal handler makes it that returns in both processes."""

from __future__ import annotations

import ssl
import time
from contextlib import closing

import pytest

import zaqar_core
from zaqar_conformance.forks import fork_at
from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import Server
from zaqar_core import NewMessage
from zaqar_core.contract import new_id
from zaqar_core.errors import StorageUnavailable
from zaqar_redis.connections import _all
from zaqar_redis.options import Address
from zaqar_redis.wire import Login, connect

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.mark.parametrize("fresh", [False, True], ids=["idle connection", "new connection"])
def test_only_the_parent_completes_the_call(server: Server, fresh: bool) -> None:
    """The child's raises, and later ones use a connection of its own; no process gets a reply meant for the other."""
    with zaqar_core.connect(f"redis://127.0.0.1:{server.port}/0", project=new_id(), metadata_ttl=60) as storage:
        queue, other = storage.queue("posted to"), storage.queue("read")
        other.post("other")
        queue.post("first")
        [connections] = [each for each in _all if each.where.endswith(f":{server.port}") and each._idle]

        messages = [NewMessage("x")]

        def post() -> str:
            if fresh:
                connections.forget()
            return storage.messages.post("posted to", messages)[0]

        def then(outcome: object) -> str:
            for _ in range(2):
                assert [each.body for each in other.list().items] == ["other"]
            return "raised" if isinstance(outcome, StorageUnavailable) else str(outcome)

        at, completed = 1, 0
        while forked := fork_at(post, at, then):
            assert forked.code == 0, (at, forked.said)
            stored = {forked.outcome}
            if forked.said != "raised":  # forked before it had begun, or after it was over
                completed += 1
                stored.add(forked.said)
            assert {each.id for each in queue.list(limit=9).items[1:]} == stored, (at, forked.said)
            storage.messages.bulk_delete("posted to", [str(each) for each in stored])
            at += 31
        assert at > 500
        assert completed < 10


def test_only_the_parent_completes_a_handshake(server: Server, outside: ssl.SSLContext, ca_file: str) -> None:
    """The child, forked while a connection is made with TLS, sends nothing and takes no byte of the server's."""
    tls = ssl.create_default_context(cafile=ca_file)
    with Proxy(server.port, tls=outside) as proxy:
        address = Address("localhost", proxy.port)

        def call() -> object:
            with closing(connect(address, time.monotonic() + 5, login=Login(), tls=tls)) as connection:
                return connection.ask("ECHO", "own", deadline=time.monotonic() + 5)

        at, failures = 1, 0
        while forked := fork_at(call, at, repr):
            assert (forked.outcome, forked.code) == (b"own", 0), at
            failures += "Error" in forked.said
            at += 29
        assert failures > 5
