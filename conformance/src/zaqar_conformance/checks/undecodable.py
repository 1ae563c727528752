"""Checks of bodies that a client cannot decode: it lacks the codec, or another program wrote them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import partial

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import LONG, ids_of, keeps_records, listed, see_listed
from zaqar_conformance.env import Env
from zaqar_core import Capability, Message, NewMessage
from zaqar_core.contract import EncodedMessage, QueueKey
from zaqar_core.errors import CodecError

_CODED = (2, 3, 7)
"""The places, among ten messages, of those that the reader cannot decode."""
_FOREIGN = (b"\xff\xfe not JSON", b'{"a": ', b"", b"1" * 5_000)


@check("MSG-032")
def an_undecodable_body_spoils_no_reading(env: Env) -> None:
    """Every way of reading gives all of ten messages, three of them undecodable, which raise only for their body."""
    queue, ids = _mixed(env)
    _see(env, listed(env, queue, limit=1), ids, "list, in pages of 1")
    _see(env, listed(env, queue, limit=4), ids, "list, in pages of 4")
    _see(env, env.storage.messages.bulk_get(queue, ids), ids, "bulk_get")
    single = [env.storage.messages.get(queue, one) for one in ids]
    _see(env, single, ids, "get")
    for place in _CODED:
        message = single[place]
        again = pickle.loads(pickle.dumps(message))  # noqa: S301  # its own
        ensure(again == message and repr(again), "MSG-032", "an undecodable message, pickled, is equal and has a repr")
        ensure(message != single[0], "MSG-032", "an undecodable message equals one with a body")
    env.storage.messages.bulk_delete(queue, ids[: _CODED[0]])
    first = env.storage.messages.first(queue)
    ensure_equal((first.id, first.raw is None), (ids[_CODED[0]], False), "MSG-032", "first, which is undecodable")


@check("MSG-032")
def an_undecodable_message_is_claimed_released_and_deleted(env: Env) -> None:
    """A claim gives all, and holds all: undecodable messages are released and deleted as others are."""
    if not env.declares(Capability.CLAIMS):
        return
    queue, ids = _mixed(env)
    claim = env.storage.claims.create(queue, ttl=60, limit=10)
    _see(env, claim.messages, ids, "claims.create")
    _see(env, env.storage.claims.get(queue, str(claim.id)).messages, ids, "claims.get")
    env.storage.claims.delete(queue, str(claim.id), message_ids=[ids[2], ids[4]])
    env.storage.messages.delete(queue, ids[3], claim_id=str(claim.id))
    refused = env.storage.messages.bulk_delete(queue, [ids[2], ids[7]], claim_ids=[str(claim.id)])
    ensure_equal(refused, [ids[2]], "MSG-032", "refused of a released and a claimed message, both undecodable")
    env.storage.claims.delete(queue, str(claim.id))
    see_listed(env, queue, [one for one in ids if one not in (ids[3], ids[7])], "MSG-032", "10 less 2 deleted")
    with env.storage.queue(queue).claim(limit=10) as held:
        for message in held:
            ensure(repr(message), "MSG-032", "repr of a claimed message")
            message.delete()
    see_listed(env, queue, [], "MSG-032", "messages of which each was deleted by its handle")


@check("MSG-032")
def an_undecodable_message_is_popped_with_others(env: Env) -> None:
    """A pop gives all that it removes: what cannot be decoded comes as bytes, and no other is lost with it."""
    if not env.declares(Capability.POP):
        return
    queue, ids = _mixed(env)
    _see(env, env.storage.messages.pop(queue, 10), ids, "pop")
    see_listed(env, queue, [], "MSG-032", "10 messages that were popped")


@check("MSG-032")
def an_undecodable_message_becomes_a_dead_letter(env: Env) -> None:
    """A message that the mover of dead letters cannot decode is moved as others are, its bytes as they were."""
    if not (env.declares(Capability.CLAIMS) and keeps_records(env)):
        return
    queue, ids = _mixed(env)
    dead = env.queue("dead")
    env.storage.queues.set_metadata(queue, {"_max_claim_count": 1, "_dead_letter_queue": dead})
    before = {message.raw for message in env.storage.messages.bulk_get(queue, ids)}
    claim = env.storage.claims.create(queue, limit=10)
    env.storage.claims.delete(queue, str(claim.id))
    env.storage.claims.create(queue, limit=10)
    letters = listed(env, dead)
    ensure_equal(len(letters), len(ids), "MSG-032", "dead letters of 10 messages, 3 of them undecodable")
    ensure_equal({letter.raw for letter in letters}, before, "MSG-032", "bytes of undecodable dead letters")


@check("MSG-032")
def what_another_program_wrote_spoils_nothing(env: Env) -> None:
    """Bodies that are no JSON, cut short, empty, or a number of 5 000 digits are read as bytes among others."""
    queue = env.queue()
    controller = env.driver.messages
    assert controller is not None
    for place, body in enumerate(_FOREIGN):
        env.storage.messages.post(queue, [NewMessage(place, ttl=LONG)])
        controller.post(QueueKey(env.project, queue), [EncodedMessage(body, LONG)], client_id="foreign")
    env.see(lambda: len(listed(env, queue)), lambda count: count == 2 * len(_FOREIGN), "MSG-032", "messages listed")
    found = listed(env, queue, limit=1)
    own = [message.body for message in found if message.client_id != "foreign"]
    ensure_equal(own, [*range(len(_FOREIGN))], "MSG-032", "bodies beside those that another program wrote")
    for message in found:
        if message.client_id == "foreign" and message.raw is not None:
            ensure(message.raw in _FOREIGN, "MSG-032", f"raw {message.raw[:40]!r} is not what was written")
            ensure_raises(CodecError, "MSG-032", "the body that is no JSON", partial(getattr, message, "body"))


class _Turning:
    """A codec that the reader does not have."""

    name = "turning"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


def _mixed(env: Env) -> tuple[str, list[str]]:
    """A queue of ten messages, of which another client has posted three with a codec that this one lacks."""
    queue = env.queue()
    writer = env.connect(codecs=[_Turning()])
    ids: list[str] = []
    for place in range(10):
        client = writer if place in _CODED else env.storage
        ids += client.messages.post(queue, [NewMessage({"n": place}, ttl=LONG, headers={"n": str(place)})])
    see_listed(env, queue, ids, "MSG-032", "10 messages, 3 of them posted with a codec that the reader lacks")
    return queue, ids


def _see(env: Env, messages: Sequence[Message], ids: list[str], how: str) -> None:
    what = f"by {how}, of 10 messages with 3 undecodable bodies"
    ensure_equal(ids_of(messages), ids, "MSG-032", f"ids {what}")
    headers = [message.headers.get("n") for message in messages]
    ensure_equal(headers, [str(place) for place in range(10)], "MSG-032", f"headers {what}")
    raw = [place for place, message in enumerate(messages) if message.raw is not None]
    ensure_equal(raw, [*_CODED], "MSG-032", f"places of those that have raw bytes {what}")
    for place, message in enumerate(messages):
        if place in _CODED:
            ensure_raises(CodecError, "MSG-032", f"the body of an undecodable message {what}", partial(_body, message))
        else:
            ensure_equal(_body(message), {"n": place}, "MSG-032", f"body of message {place} {what}")


def _body(message: Message) -> object:
    return message.body
