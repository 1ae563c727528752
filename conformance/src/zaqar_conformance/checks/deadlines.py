"""One deadline for each method: however many calls it makes, connections are idle, or addresses a name has."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from zaqar_conformance.check import check, ensure, ensure_raises
from zaqar_conformance.checks._calls import hasty, longest
from zaqar_conformance.checks._support import LONG, keeps_records
from zaqar_conformance.env import Env
from zaqar_core import Capability, NewMessage, Storage
from zaqar_core.errors import StorageUnavailable, ZaqarError
from zaqar_core.uri import Uri

_TIMEOUT = 1.5
_REPLY = 0.9 * _TIMEOUT
"""Seconds that each reply takes: one comes in time, two do not."""
_SLACK = 1.2
"""Seconds that a call may take beyond its time-out: for a machine that is busy."""
_IDLE = 8
_NAME = "conformance.invalid"


@check("FAI-015", destructive=True, thorough=True)
def calls_of_several_steps_have_one_deadline(env: Env) -> None:
    """On a datastore whose replies are slow, methods that need several of them end when one time-out is over."""
    with env.target.slowed(env.uri) as (uri, slow_down):
        client = env.connect(uri=uri, timeout=_TIMEOUT)
        for what, call in _several_steps(env, client):
            took = float("inf")
            for _ in range(2):
                slow_down(_REPLY)
                began = time.monotonic()
                try:
                    call()
                except StorageUnavailable:
                    pass
                finally:
                    took = min(took, time.monotonic() - began)
                    slow_down(0)
                if took <= _TIMEOUT + _SLACK:
                    break
            ensure(
                took <= _TIMEOUT + _SLACK,
                "FAI-015",
                f"{what}, with timeout={_TIMEOUT:g} and {_REPLY:g} s for each reply: it ended after {took:.1f} s",
            )


@check("FAI-015", destructive=True, thorough=True)
def idle_connections_cost_one_timeout_together(env: Env) -> None:
    """A client that has many connections finds out within one time-out that none of them is served any more."""
    queue, client = env.queue(), env.connect(timeout=hasty(env))
    client.messages.post(queue, [NewMessage(1)])
    env.threads(_IDLE, lambda _: client.messages.stats(queue))
    with env.target.blocked(env.uri):
        began = time.monotonic()
        try:
            client.messages.post(queue, [NewMessage(2)])
        except ZaqarError:
            pass
        took = time.monotonic() - began
    ensure(
        took <= longest(hasty(env)),
        "FAI-015",
        f"a post with timeout={hasty(env)} by a client with {_IDLE} connections to a datastore that serves nobody: it "
        f"ended after {took:.1f} s",
    )


@check("FAI-015")
def connecting_has_one_deadline(env: Env) -> None:
    """A name of four silent addresses, and one that no name server answers for, cost one ``connect_timeout`` each."""
    authority = Uri.parse(env.uri).authority
    renamed = re.sub(r"(?:127\.0\.0\.1|localhost):(?=\d)", f"{_NAME}:", authority)  # all, where there are several
    if env.target.embedded or renamed == authority:
        env.note("the URI names no host that could be replaced")
        return
    uri = env.uri.replace(authority, renamed, 1)
    for what, circumstance in (("four silent addresses", _silent_addresses), ("no answer", _no_answer)):
        with circumstance():
            began = time.monotonic()
            call = partial(env.connect, uri=uri, connect_timeout=_TIMEOUT)
            ensure_raises(StorageUnavailable, "FAI-015", f"connect to a name for which there is {what}", call)
            took = time.monotonic() - began
        ensure(
            took <= _TIMEOUT + _SLACK,
            "FAI-015",
            f"connect with connect_timeout={_TIMEOUT:g} to a name with {what}: it raised after {took:.1f} s",
        )


def _several_steps(env: Env, client: Storage) -> Iterator[tuple[str, Callable[[], object]]]:
    """Calls that need at least three replies."""
    messages, queues, claims = client.messages, client.queues, client.claims
    if keeps_records(env):
        yield "a first post", lambda: messages.post(env.queue(), [NewMessage(1)])
    if keeps_records(env) and env.declares(Capability.CLAIMS):
        queue, dead = env.queue(), env.queue("dead")
        queues.create(queue, {"_max_claim_count": 1, "_dead_letter_queue": dead})
        messages.post(queue, [NewMessage(number, ttl=LONG) for number in range(3)])
        claim = claims.create(queue, ttl=LONG, grace=0)
        if claim.id is not None:
            claims.delete(queue, claim.id)
        yield "a claim that finds dead letters", lambda: claims.create(queue, ttl=LONG, grace=0)
    if keeps_records(env) and env.declares(Capability.SUBSCRIPTIONS):
        full = env.queue()
        queues.create(full)
        for number in range(5):
            client.subscriptions.create(full, subscriber=f"http://127.0.0.1/{number}", ttl=LONG)
        yield "queues.delete with 5 subscriptions", lambda: queues.delete(full)


@contextmanager
def _silent_addresses() -> Iterator[None]:
    """While this lasts the name has four addresses at which nothing answers, not even to refuse."""
    real = socket.getaddrinfo
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("0.0.0.0", 0), backlog=0))  # noqa: S104  # of all of 127/8
        port = listener.getsockname()[1]
        hosts = [f"127.0.0.{number}" for number in range(2, 6)]
        for _ in range(3):  # which fill the backlog, so that the system drops what comes after them
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((hosts[0], port))

        def lookup(host: Any, asked: Any, *args: Any, **options: Any) -> Any:
            if host not in (_NAME, _NAME.encode()):
                return real(host, asked, *args, **options)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in hosts]

        with patch("socket.getaddrinfo", lookup):
            yield


@contextmanager
def _no_answer() -> Iterator[None]:
    """While this lasts looking up the name takes a minute."""
    real, over = socket.getaddrinfo, threading.Event()

    def lookup(host: Any, *args: Any, **options: Any) -> Any:
        if host in (_NAME, _NAME.encode()):
            over.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answered")
        return real(host, *args, **options)

    with patch("socket.getaddrinfo", lookup):
        try:
            yield
        finally:
            over.set()
