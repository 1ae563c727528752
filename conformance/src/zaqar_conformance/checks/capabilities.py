"""What a driver declares, says of itself, and leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._installed import installation
from zaqar_conformance.env import Env
from zaqar_conformance.hiding import secrets_of
from zaqar_core import Capability, Limits, NewMessage, QueueStats, connect
from zaqar_core.contract import ClaimController, new_id
from zaqar_core.errors import Unsupported
from zaqar_core.uri import Uri

_FEATURELESS = """
from zaqar_conformance.reference import ReferenceDriver
from zaqar_core.capabilities import FEATURES, Capability

calls = []

class Watched:
    def __init__(self, controller):
        self._controller = controller

    def __getattr__(self, name):
        calls.append(name)
        return getattr(self._controller, name)

class Featureless(ReferenceDriver):
    possible_capabilities = frozenset(Capability) - FEATURES - {Capability.IDEMPOTENT_POST}

    def __init__(self, state):
        super().__init__(state)
        self.messages, self.claims = Watched(self.messages), Watched(self.claims)
"""


@check("CAP-001")
def capabilities_are_of_the_vocabulary(env: Env) -> None:
    """``capabilities`` is a set of the vocabulary, within ``possible_capabilities``."""
    declared, possible = env.driver.capabilities, type(env.driver).possible_capabilities
    for name, found in (("capabilities", declared), ("possible_capabilities", possible)):
        ensure(
            isinstance(found, frozenset | set), "CAP-001", f"{name} is a {type(found).__name__}, expected a frozenset"
        )
        members: list[object] = [*found]
        strange = sorted(repr(each) for each in members if not isinstance(each, Capability))
        ensure(not strange, "CAP-001", f"{name} holds what is no Capability: {', '.join(strange)}")
    beyond = ", ".join(sorted(declared - possible))
    ensure(not beyond, "CAP-001", f"capabilities holds {beyond}, which possible_capabilities does not")


@check("CAP-001")
def capabilities_do_not_change(env: Env) -> None:
    """``capabilities`` stays the same while the connection is open and in use, and for all connections with its URI."""
    queue, declared = env.queue(), set(env.driver.capabilities)
    env.storage.queues.create(queue)
    env.storage.messages.post(queue, [NewMessage(1)])
    env.storage.messages.list(queue)
    for moment in ("after some use", "read again"):
        ensure_equal(set(env.driver.capabilities), declared, "CAP-001", f"capabilities of an open connection, {moment}")
    ensure_equal(set(env.connect().driver.capabilities), declared, "CAP-001", "capabilities of a second connection")
    ensure_equal(env.storage.capabilities_for(queue), env.storage.capabilities, "CAP-001", "capabilities for a queue")


@check("CAP-001")
def features_have_their_methods(env: Env) -> None:
    """A driver that declares a feature offers the controller and methods for it: they answer, on an empty queue."""
    queue, storage = env.queue(), env.storage
    if env.declares(Capability.CLAIMS):
        offered = env.driver.claims
        ensure(isinstance(offered, ClaimController), "CAP-001", f"CLAIMS is declared, but driver.claims is {offered!r}")
        ensure_equal(
            storage.claims.create(queue, ttl=1, grace=0).id, None, "CAP-001", "a claim on an empty queue: its id"
        )
        storage.claims.delete(queue, "none")
    if env.declares(Capability.POP):
        ensure_equal([*storage.messages.pop(queue)], [], "CAP-001", "pop from an empty queue")
    if env.declares(Capability.DELAY):
        [message_id] = storage.messages.post(queue, [NewMessage(1, delay=30)])
        env.see(
            lambda: [message.id for message in storage.messages.bulk_get(queue, [message_id])],
            lambda seen: seen == [message_id],
            "CAP-001",
            "a message posted with a delay, where DELAY is declared, fetched by its id",
        )
    env.note(
        f"features declared: {', '.join(sorted(each for each in storage.capabilities if each.is_feature)) or 'none'}"
    )


@check("CAP-002")
def features_not_offered_are_unsupported(env: Env) -> None:
    """Without a feature its methods and arguments raise ``Unsupported`` naming it, and no driver is called."""
    with installation() as installed:
        module = installed.add("bare-queue", {"bare": "{module}:Featureless"}, source=_FEATURELESS)
        with connect(f"bare://{new_id()}") as storage:
            calls = _calls(module)
            queue = env.queue()
            storage.queues.create("delayed", {"_default_message_delay": 5})
            methods: dict[str, tuple[Capability, Callable[[], object]]] = {
                "claims.create": (Capability.CLAIMS, lambda: storage.claims.create(queue)),
                "claims.get": (Capability.CLAIMS, lambda: storage.claims.get(queue, "x")),
                "claims.update": (Capability.CLAIMS, lambda: storage.claims.update(queue, "x")),
                "claims.delete": (Capability.CLAIMS, lambda: storage.claims.delete(queue, "x")),
                "a handle's claim": (Capability.CLAIMS, lambda: storage.queue(queue).claim()),
                "a handle's claim with wait": (Capability.CLAIMS, lambda: storage.queue(queue).claim(wait=60)),
                "a handle's consume": (Capability.CLAIMS, lambda: next(storage.queue(queue).consume())),
                "messages.pop": (Capability.POP, lambda: storage.messages.pop(queue)),
                "a handle's pop": (Capability.POP, lambda: storage.queue(queue).pop()),
                "a post with a delay": (
                    Capability.DELAY,
                    lambda: storage.messages.post(queue, [NewMessage(1), NewMessage(1, delay=5)]),
                ),
                "a post to a queue with a default delay": (
                    Capability.DELAY,
                    lambda: storage.messages.post("delayed", [NewMessage(1)]),
                ),
                "a post with a dedup_id": (
                    Capability.IDEMPOTENT_POST,
                    lambda: storage.messages.post(queue, [NewMessage(1), NewMessage(1, dedup_id="d")]),
                ),
            }
            calls.clear()
            for what, (capability, call) in methods.items():
                raised = ensure_raises(Unsupported, "CAP-002", f"{what} without {capability}", call)
                text = str(raised)
                ensure(capability.value in text, "CAP-002", f"the error of {what} does not name {capability}: {text}")
                ensure_equal(calls, [], "CAP-002", f"methods of the driver called by {what} without {capability}")
            ensure_equal(storage.queues.exists(queue), False, "CAP-002", "exists after posts that are not supported")
            storage.messages.post(queue, [NewMessage(1, delay=0)])
            ensure_equal(
                storage.messages.stats(queue).free, 1, "CAP-002", "messages after a post with delay 0 without DELAY"
            )


@check("CAP-002")
def release_with_a_delay_needs_delay(env: Env) -> None:
    """With ``CLAIMS`` but without ``DELAY`` a release with a delay raises ``Unsupported``, and the claim stays."""
    source = _FEATURELESS.replace("- FEATURES", "- FEATURES | {Capability.CLAIMS}")
    with installation() as installed:
        module = installed.add("bare-queue", {"bare": "{module}:Featureless"}, source=source)
        with connect(f"bare://{new_id()}") as storage:
            storage.messages.post("q", [NewMessage(1)])
            claim_id = str(storage.claims.create("q").id)
            _calls(module).clear()
            what = "a release with a delay without DELAY"
            raised = ensure_raises(Unsupported, "CAP-002", what, lambda: storage.claims.delete("q", claim_id, delay=1))
            ensure("DELAY" in str(raised), "CAP-002", f"the error of {what} does not name DELAY: {raised}")
            ensure_equal(_calls(module), [], "CAP-002", f"methods of the driver called by {what}")
            stats = storage.messages.stats("q")
            ensure_equal((stats.free, stats.claimed), (0, 1), "CAP-002", f"free and claimed messages after {what}")
            storage.claims.delete("q", claim_id, delay=0)
            ensure_equal(storage.messages.stats("q").free, 1, "CAP-002", "free messages after a release without delay")


@check("CAP-004")
def ping_answers(env: Env) -> None:
    """``ping`` and ``is_alive`` answer while the datastore lives, on connections used and unused."""
    for storage in (env.storage, env.connect(), env.connect()):
        for _ in range(3):
            storage.driver.ping()
            ensure_equal(storage.is_alive(), True, "CAP-004", "is_alive while the datastore lives")
        ensure_equal(storage.messages.stats(env.queue()), QueueStats(), "CAP-004", "stats of an unknown queue")


@check("CAP-004")
def health_is_json_without_secrets(env: Env) -> None:
    """``health`` gives a mapping of texts to JSON values, without the password and secret options of the URI."""
    env.storage.messages.post(env.queue(), [NewMessage(1)])
    health = dict(env.driver.health())
    try:
        text = json.dumps(health, allow_nan=False)
    except (TypeError, ValueError) as error:
        ensure(False, "CAP-004", f"health is not made of JSON values: {error}: {health!r}")
    ensure_equal(json.loads(text), health, "CAP-004", "health, read back from JSON")
    for secret in secrets_of(env.uri):
        what = f"health shows a secret of {Uri.parse(env.uri)} (its text is not repeated)"
        ensure(not secret or secret not in text, "CAP-004", what)
    ensure_equal(set(env.storage.health()), {"data", "control"}, "CAP-004", "the planes that storage.health() tells of")


@check("CAP-004")
def limits_only_narrow(env: Env) -> None:
    """The driver's limits, if any, are within the facade's, and positive."""
    limits = env.driver.limits
    ensure(
        limits is None or isinstance(limits, Limits), "CAP-004", f"driver.limits is {limits!r}, expected Limits or None"
    )
    widest, shortest = Limits(), {"max_message_delay": 0.0, "max_claim_grace": 0.0}
    for bound in fields(Limits) if limits is not None else ():
        mine, theirs = getattr(limits, bound.name), getattr(widest, bound.name)
        low = shortest.get(bound.name, 1)
        ensure(
            low <= mine <= theirs,
            "CAP-004",
            f"the driver's {bound.name} is {mine!r}; expected at least {low} and at most the facade's {theirs!r}",
        )


def _calls(module: str) -> list[str]:
    """The methods of the featureless driver that were called."""
    from importlib import import_module

    calls: list[str] = import_module(module).calls
    return calls
