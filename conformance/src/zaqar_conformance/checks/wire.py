"""Checks of the wire: connections are cut around a request and inside its reply, and the network is slow.

A proxy does it, between clients and a datastore that is well. An embedded backend has no wire.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from zaqar_conformance.check import Undecided, check
from zaqar_conformance.checks._aftermath import Aftermath
from zaqar_conformance.checks._calls import CACHED, all_end_in_time, calls_of_a_client_each, hasty, longest
from zaqar_conformance.checks._clients import Busy, recorders, rngs
from zaqar_conformance.checks._support import LONG, listed, post, take
from zaqar_conformance.env import Env
from zaqar_conformance.proxy import Cut, Proxy
from zaqar_core import Capability, NewMessage, Storage
from zaqar_core.errors import OutcomeUnknown, StorageError

_IN_A_ROW = (1, 4)
"""So many requests are cut: one, after which trying again helps, and more than anybody tries."""
_CLIENTS = 4
_CUTS = 200
"""At random, one after the other."""
_BETWEEN = 0.01
"""Seconds from a cut to the next."""
_LATE = 0.03
"""Seconds by which each part of a reply is late on a slow network; a call may take several, within its ``timeout``."""
_TOO_LATE = 1.0
"""Seconds: so much longer than ``timeout`` and what is granted beyond it are replies held back."""

Counts = tuple[int, int]
"""The messages of a queue that are active, and all of them."""
Operation = tuple[str, Callable[[Storage], object], Counts, Counts]
"""What is done, and the counts before it and after it."""


@check("FAI-012", thorough=True)
def what_is_cut_off_happened_once_or_not_at_all(env: Env) -> None:
    """Connections break before, in and after a request, and in its reply: what was asked for is done once, or not."""
    if _has_no_wire(env):
        return
    with _wire(env) as (proxy, uri):
        for where in Cut:
            for times in _IN_A_ROW:
                client = env.connect(uri=uri, timeout=env.target.call_timeout / 3, metadata_ttl=CACHED)
                for make in _operations(env):
                    _cut(env, client, proxy, [where] * times, make)


@check("FAI-012", thorough=True)
def cuts_at_random_lose_and_double_nothing(env: Env) -> None:
    """Clients work while their connections break all the time: nothing is lost, doubled, held twice or miscounted."""
    if _has_no_wire(env):
        return
    queue, over = env.queue(), threading.Event()
    with _wire(env) as (proxy, uri):
        storages = [env.connect(uri=uri, timeout=env.target.call_timeout / 3, metadata_ttl=CACHED) for _ in range(2)]
        clients = recorders(env, _CLIENTS, storages)
        pops = 0.3 if env.declares(Capability.POP) else 0.0
        busy = [
            Busy(client, rng, queue, posts=0.7, pops=pops)
            for client, rng in zip(clients, rngs(env, _CLIENTS), strict=True)
        ]

        def work(index: int) -> None:
            if index == _CLIENTS:
                try:
                    _cut_at_random(env, proxy)
                finally:
                    over.set()
            while not over.is_set():
                with suppress(StorageError):
                    busy[index].step()

        env.threads(_CLIENTS + 1, work)
    if not any(each.name == "messages.post" and each.outcome == "ok" for each in env.history.operations):
        raise Undecided("no post was acknowledged between the cuts, so nothing could be lost or doubled")
    Aftermath(env, env.storage, "FAI-012").demand_messages(queue)


@check("FAI-002", thorough=True)
def a_slow_network_ends_every_method_in_time(env: Env) -> None:
    """With replies that are a little late every method answers; with replies that come too late it ends in time."""
    if _has_no_wire(env):
        return
    with _wire(env) as (proxy, uri):
        slow = calls_of_a_client_each(env, uri=uri, timeout=env.target.call_timeout)
        slow = [call for call in slow if call[0] != "gc"]  # which takes as long as others have left to remove
        proxy.delay(_LATE)
        all_end_in_time(slow, env.target.call_timeout, served=True)
        proxy.delay(0)
        calls = calls_of_a_client_each(env, uri=uri)
        timeout = hasty(env)
        proxy.delay(longest(timeout) + _TOO_LATE)
        connect = partial(env.connect, uri=uri, connect_timeout=timeout, timeout=timeout)
        all_end_in_time([*calls, ("connect", connect)], timeout)


def _has_no_wire(env: Env) -> bool:
    if env.target.embedded:
        env.note("an embedded backend has no wire")
    return env.target.embedded


@contextmanager
def _wire(env: Env) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the datastore, and the URI that leads through it."""
    proxy, uri = env.target.proxied(env.uri)
    with proxy:
        yield proxy, uri


def _cut_at_random(env: Env, proxy: Proxy) -> None:
    for _ in range(_CUTS):
        proxy.cut(env.rng.choice(list(Cut)))
        env.wait_for(lambda: proxy.cuts_left, lambda left: not left, "FAI-002", "cuts left, for clients send nothing")
        time.sleep(_BETWEEN)  # in which what is tried again is not cut


def _operations(env: Env) -> list[Callable[[Env, str], Operation]]:
    """What makes an operation on one message of three in a queue: there is no half of it, even without batches."""
    makers: list[Callable[[Env, str], Operation]] = [_posting, _deleting]
    if env.declares(Capability.POP):
        makers.append(_popping)
    if env.declares(Capability.CLAIMS):
        makers += [_claiming, _releasing]
    return makers


def _posting(env: Env, queue: str) -> Operation:
    return "post", lambda client: client.messages.post(queue, [NewMessage("new", ttl=LONG)]), (3, 3), (4, 4)


def _deleting(env: Env, queue: str) -> Operation:
    [message_id] = post(env, queue, 1)
    return "delete", lambda client: client.messages.delete(queue, message_id), (4, 4), (3, 3)


def _popping(env: Env, queue: str) -> Operation:
    return "pop", lambda client: client.messages.pop(queue), (3, 3), (2, 2)


def _claiming(env: Env, queue: str) -> Operation:
    return "claims.create", lambda client: client.claims.create(queue, ttl=LONG, limit=1), (3, 3), (2, 3)


def _releasing(env: Env, queue: str) -> Operation:
    claim, _ = take(env, queue, 1)
    return "claims.delete", lambda client: client.claims.delete(queue, claim), (2, 3), (3, 3)


def _cut(env: Env, client: Storage, proxy: Proxy, cuts: Sequence[Cut], make: Callable[[Env, str], Operation]) -> None:
    """Operate while connections are cut: what is there fits how it ended, and the client goes on."""
    queue = env.queue()
    post(env, queue, 3)
    name, call, before, after = make(env, queue)
    env.wait_for(client.is_alive, bool, "FAI-002", "is_alive of a client whose connections broke, expected True")
    client.messages.stats(queue)  # what it has to ask of a queue, it has asked
    for each in cuts:
        proxy.cut(each)
    allowed, ending = {after}, "returned"
    try:
        call(client)
    except OutcomeUnknown:
        allowed, ending = {before, after}, "raised OutcomeUnknown"
    except StorageError as error:
        allowed, ending = {before}, f"raised {type(error).__name__}: {error}"
    if proxy.cuts_left == len(cuts):
        raise Undecided(f"{name} went past the proxy: none of its connections could be cut")
    proxy.forget_cuts()
    where = f"{len(cuts)} of whose connections were cut ({cuts[0].name})"
    env.see(
        lambda: (len(listed(env, queue)), len(listed(env, queue, include_claimed=True))),
        allowed.__contains__,
        "FAI-012",
        f"{name}, {where}, {ending}; (active, all) messages then, allowed: {sorted(allowed)}",
    )
