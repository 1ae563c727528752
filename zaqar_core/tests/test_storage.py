"""``connect`` and ``Storage`` over drivers that misbehave: what is closed, what is refused, what reaches a driver."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import pytest

from zaqar_conformance.reference import ReferenceDriver
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.state import State
from zaqar_core import Capability, Limits, NewMessage, Storage, connect
from zaqar_core.contract import EncodedMessage, QueueKey
from zaqar_core.errors import (
    CodecError,
    InvalidBody,
    InvalidDuration,
    InvalidInput,
    InvalidOption,
    OutcomeUnknown,
    StorageClosed,
    StorageUnavailable,
    Unsupported,
)
from zaqar_core.uri import Uri


class Messages(ReferenceMessages):
    """Writes down what it was given."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.posted: list[tuple[QueueKey, Sequence[EncodedMessage], str]] = []

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        self.posted.append((queue, messages, client_id))
        return super().post(queue, messages, client_id=client_id)


class Data(ReferenceDriver):
    """A store of its own for each that is opened; counts its closings."""

    opened: ClassVar[list[Data]] = []
    open_error: ClassVar[BaseException | None] = None

    def __init__(self) -> None:
        state = State()
        super().__init__(state)
        self.messages: Messages = Messages(state)
        self.closed = 0
        self.error: Exception | None = None

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        if cls.open_error is not None:
            raise cls.open_error
        driver = cls()
        Data.opened.append(driver)
        return driver

    def ping(self) -> None:
        if self.error is not None:
            raise self.error

    def gc(self) -> int:
        return 3

    def close(self) -> None:
        self.closed += 1
        self.ping()


class Control(Data):
    pass


class NoRecords(Data):
    def __init__(self) -> None:
        super().__init__()
        self.records = None


class NoMessages(Data):
    def __init__(self) -> None:
        super().__init__()
        self.messages = None  # type: ignore[assignment]


class NoClaims(Data):
    """Declares what it does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = None


class LooseRecords(Data):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.ATOMIC_RECORDS}


class Narrow(Data):
    limits = Limits(max_body_bytes=100, max_messages_per_pop=10**6)


DRIVERS = {
    kind.__name__.lower(): kind for kind in (Data, Control, NoRecords, NoMessages, NoClaims, LooseRecords, Narrow)
}


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Data]:
    """The drivers that the test has opened, in order; a scheme is the name of a class above."""
    monkeypatch.setattr("zaqar_core.storage.load_driver", DRIVERS.__getitem__)
    monkeypatch.setattr(Data, "opened", [])
    return Data.opened


# --- connect ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [5, {"max_body_bytes": 5}, Limits])
def test_limits_of_another_type_are_refused_before_anything_is_opened(limits: Any, opened: list[Data]) -> None:
    with pytest.raises(InvalidInput, match=r"limits is .*; pass zaqar_core\.Limits\(\.\.\.\) or None"):
        connect("data://x", limits=limits)
    assert opened == []


@pytest.mark.parametrize("name", ["connect_timeout", "timeout", "metadata_ttl"])
@pytest.mark.parametrize("value", [-1, float("nan"), 3601, None, "5"])
def test_a_time_that_is_no_duration_is_refused_by_name_before_anything_is_opened(
    name: str, value: Any, opened: list[Data]
) -> None:
    with pytest.raises(InvalidDuration, match=f"{name} is"):
        connect("data://x", **{name: value})
    assert opened == []


def mistaken(name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``connect`` says of an argument that is neither its own nor the driver's."""
    monkeypatch.setattr("zaqar_core.storage.load_driver", lambda _: ReferenceDriver)
    options: dict[str, Any] = {name: "acme"}
    with pytest.raises(InvalidOption) as raised:
        connect("memory://mistaken", **options)
    return str(raised.value)


@pytest.mark.parametrize(("misspelt", "meant"), [("projct", "project"), ("timeot", "timeout"), ("limit", "limits")])
def test_a_misspelt_argument_of_connect_is_named_beside_the_options(
    misspelt: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = mistaken(misspelt, monkeypatch)
    assert f"no option {misspelt!r}" in said
    assert f"did you mean the connect() argument {meant}=...?" in said


@pytest.mark.parametrize("option", ["option", "nothing_like_it"])
def test_an_option_like_no_argument_of_connect_gets_the_driver_s_error_alone(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "connect" not in mistaken(option, monkeypatch)


def test_a_codec_that_is_not_there_opens_nothing(opened: list[Data]) -> None:
    with pytest.raises(CodecError, match="no codec is called 'no-such-codec'"):
        connect("data://x", codecs=["no-such-codec"])
    assert opened == []


@pytest.mark.parametrize("error", [StorageUnavailable("no server"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_control_plane_that_does_not_open_closes_the_data_plane(
    monkeypatch: pytest.MonkeyPatch, opened: list[Data], error: BaseException
) -> None:
    monkeypatch.setattr(Control, "open_error", error)
    with pytest.raises(type(error)):
        connect("data://x", control="control://x")
    assert [driver.closed for driver in opened] == [1]


@pytest.mark.parametrize(
    ("uri", "control", "why"),
    [
        ("nomessages://x", None, "NoMessages offers no messages; use it as control='...' of another backend"),
        ("nomessages://x", "control://x", "NoMessages offers no messages"),
        ("data://x", "norecords://x", "NoRecords keeps no records; it cannot be the control plane"),
    ],
)
def test_planes_that_do_not_fit_are_refused_and_closed(
    uri: str, control: str | None, why: str, opened: list[Data]
) -> None:
    with pytest.raises(Unsupported, match=why):
        connect(uri, control=control)
    assert opened
    assert all(driver.closed for driver in opened)


class Unclosable(NoRecords):
    """Fails to close."""

    def close(self) -> None:
        self.closed += 1
        raise StorageUnavailable("cannot be closed")


class UnclosableWithoutMessages(Unclosable):
    def __init__(self) -> None:
        super().__init__()
        self.messages = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("uri", "control", "error"),
    [
        ("unclosable://x", "unknown://x", KeyError),
        ("unclosable://x", "unclosable://y", Unsupported),
        ("unclosablewithoutmessages://x", None, Unsupported),
    ],
)
def test_what_closing_after_a_failure_raises_masks_nothing_and_leaves_no_other_open(
    uri: str, control: str | None, error: type[Exception], opened: list[Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DRIVERS, "unclosable", Unclosable)
    monkeypatch.setitem(DRIVERS, "unclosablewithoutmessages", UnclosableWithoutMessages)
    with pytest.raises(error):
        connect(uri, control=control)
    assert opened
    assert all(driver.closed for driver in opened)


def test_client_ids_are_random_unless_given() -> None:
    ids = {connect("data://x").client_id for _ in range(5)} | {connect("data://x", client_id="me").client_id}
    assert len(ids) == 6
    assert "me" in ids


# --- the storage ------------------------------------------------------------------------------------


def test_close_closes_the_other_plane_too_if_one_fails(opened: list[Data]) -> None:
    storage = connect("data://x", control="control://x")
    for driver in opened:
        driver.error = StorageUnavailable("gone")
    with pytest.raises(StorageUnavailable):
        storage.close()
    assert [driver.closed for driver in opened] == [1, 1]
    with pytest.raises(StorageClosed):
        storage.queues.count()


def test_an_error_in_the_block_closes_and_goes_on(opened: list[Data]) -> None:
    with pytest.raises(ZeroDivisionError), connect("data://x"):
        raise ZeroDivisionError
    assert opened[0].closed == 1


@pytest.mark.parametrize("plane", [0, 1])
def test_is_alive_says_no_when_either_plane_does_not_answer(opened: list[Data], plane: int) -> None:
    storage = connect("data://x", control="control://x")
    assert storage.is_alive() is True
    opened[plane].error = OutcomeUnknown("no answer")
    assert storage.is_alive() is False
    opened[plane].error = RuntimeError("a bug in the driver")
    with pytest.raises(RuntimeError):
        storage.is_alive()


def test_gc_is_done_once_by_each_driver() -> None:
    assert connect("data://x").gc() == 3
    assert connect("data://x", control="control://x").gc() == 6


def test_what_is_promised_of_records_is_the_control_plane_s() -> None:
    promised = [
        Capability.ATOMIC_RECORDS in connect(data, control=control).capabilities
        for data in ("data://x", "looserecords://x")
        for control in ("control://x", "looserecords://y")
    ]
    assert promised == [True, False, True, False]
    assert connect("norecords://x", control="control://x").capabilities == Data().capabilities


def test_a_driver_narrows_the_limits_and_widens_none(opened: list[Data]) -> None:
    storage = connect("narrow://x", limits=Limits(max_messages_per_post=7))
    assert storage.limits == Limits(max_body_bytes=100, max_messages_per_post=7)
    with pytest.raises(InvalidBody, match="has 101 bytes; at most 100 are allowed"):
        storage.messages.post("orders", [NewMessage("x" * 99)])


def test_a_repr_says_what_is_open_and_nothing_of_the_client() -> None:
    storage = connect("data://x", project="acme", client_id="hunter2")
    assert repr(storage) == "<Storage Data project='acme' open>"
    storage.close()
    assert repr(storage) == "<Storage Data project='acme' closed>"


# --- a backend without records ----------------------------------------------------------------------


@pytest.fixture
def bare() -> Iterator[Storage]:
    with connect("norecords://x") as storage:
        yield storage


def test_without_records_messages_and_claims_work(bare: Storage) -> None:
    bare.messages.post("orders", [NewMessage(1)])
    with bare.queue("orders").claim() as claim:
        assert [message.body for message in claim] == [1]


def test_without_records_every_method_of_queues_is_unsupported_and_harms_no_message(bare: Storage) -> None:
    bare.messages.post("orders", [NewMessage(1)])
    for call in (
        lambda: bare.queues.create("orders"),
        lambda: bare.queues.exists("orders"),
        lambda: bare.queues.get_metadata("orders"),
        lambda: bare.queues.set_metadata("orders", {}),
        lambda: bare.queues.delete("orders"),
        bare.queues.list,
        bare.queues.count,
        lambda: bare.queues.stats("orders"),
    ):
        with pytest.raises(Unsupported, match=r"keeps no records, so it has no queues; connect with control='\.\.\.'"):
            call()
    assert bare.messages.stats("orders").total == 1


def test_claims_that_are_declared_but_not_there_are_the_authors_to_mend() -> None:
    with pytest.raises(Unsupported, match="declares CLAIMS but offers no claim controller; report it"):
        connect("noclaims://x").claims.create("orders")


# --- what reaches a driver --------------------------------------------------------------------------


class Key(str, enum.Enum):  # noqa: UP042  # whose str() is not its value
    ORDERS = "orders"


def test_members_of_an_enumeration_reach_a_driver_as_plain_text(opened: list[Data]) -> None:
    storage = connect("data://x", project=Key.ORDERS, client_id=Key.ORDERS)
    storage.messages.post(Key.ORDERS, [NewMessage(1, headers={Key.ORDERS: Key.ORDERS}, dedup_id=Key.ORDERS)])
    [(queue, [message], client)] = opened[0].messages.posted
    texts = [*queue, client, message.dedup_id, *message.headers, *message.headers.values()]
    assert [(text, type(text)) for text in texts] == [("orders", str)] * 6


def test_durations_reach_a_driver_as_floats_and_headers_as_they_were_at_the_post(opened: list[Data]) -> None:
    storage, headers = connect("data://x"), {"a": "b"}
    storage.messages.post("orders", [NewMessage(1, ttl=60, delay=1, headers=headers)])
    headers.clear()
    [(_, [message], _)] = opened[0].messages.posted
    assert (type(message.ttl), type(message.delay), dict(message.headers)) == (float, float, {"a": "b"})


class Doubling:
    name = "doubling"

    def encode(self, data: bytes) -> bytes:
        return data * 2

    def decode(self, data: bytes) -> bytes:
        return data[: len(data) // 2]


def test_codecs_stand_between_the_application_and_the_driver(opened: list[Data]) -> None:
    storage = connect("data://x", codecs=[Doubling()])
    [message_id] = storage.messages.post("orders", [NewMessage({"n": 1})])
    assert opened[0].messages.posted[0][1][0].body == b'\0doubling\0{"n":1}{"n":1}'
    assert storage.messages.get("orders", message_id).body == {"n": 1}


def test_a_body_s_size_is_that_after_the_codecs(opened: list[Data]) -> None:
    storage = connect("data://x", codecs=[Doubling()], limits=Limits(max_body_bytes=30))
    storage.messages.post("orders", [NewMessage("x" * 8)])  # 10 bytes of mark, 20 of body
    with pytest.raises(InvalidBody, match="has 32 bytes; at most 30 are allowed"):
        storage.messages.post("orders", [NewMessage("x" * 9)])


def test_a_codec_that_fails_writes_and_registers_nothing(opened: list[Data]) -> None:
    class Broken(Doubling):
        def encode(self, data: bytes) -> bytes:
            raise RuntimeError("no key")

    storage = connect("data://x", codecs=[Broken()])
    with pytest.raises(CodecError, match="nothing was written"):
        storage.messages.post("orders", [NewMessage(1)])
    assert opened[0].messages.posted == []
    assert storage.queues.exists("orders") is False


def test_default_errors_write_out_long_durations() -> None:
    storage = connect("data://x", limits=Limits(max_message_delay=10**7))
    with pytest.raises(InvalidDuration, match="a delay of 1209601 s and a ttl of 1209600 s"):
        storage.messages.post("orders", [NewMessage(1, ttl=1_209_600, delay=1_209_601)])
