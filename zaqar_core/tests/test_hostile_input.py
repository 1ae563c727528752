"""Every argument of every public method, given what nobody should pass: refused by name, and nothing is written."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import zaqar_core
from zaqar_core import Limits, NewMessage, Storage
from zaqar_core.errors import CodecError, InvalidInput

CONTROLLERS = ("queues", "messages", "claims", "subscriptions", "pools", "flavors", "catalogue")
FLAGS = {"detailed", "echo", "include_claimed", "include_delayed", "newest", "confirmed"}
SAID = {
    "name": "queue name|pool name|flavor name",
    "queue": "queue name",
    "pool": "pool name",
    "flavor": "flavor name",
    "uri": "URI",
    "changes": "changes|metadata",
    "codecs": "codec",
}
"""What an error calls an argument, where that is not its name with spaces (an ``s`` at its end apart)."""


def fails(*_: object) -> Any:
    raise ZeroDivisionError("a method of the application's own")


class Failing:
    """Whatever is done with it fails."""

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __contains__ = fails
    __int__ = __float__ = __index__ = __lt__ = __le__ = __getitem__ = __getattr__ = fails


class FailingMapping(Mapping[str, Any]):
    __repr__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = fails


class FailingValues(Mapping[str, Any]):
    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1

    __getitem__ = fails


class Endless(Mapping[str, Any]):
    def __iter__(self) -> Iterator[str]:
        return map(str, itertools.count())

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: str) -> str:
        return key


class FailingInt(int):
    __repr__ = __eq__ = __hash__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = fails


def failing_generator() -> Iterator[object]:
    yield from map(fails, [1])


HOSTILE: dict[str, Callable[[], object]] = {
    "an integer of 5 000 digits": lambda: 10**5000,
    "a negative one": lambda: -(10**5000),
    "an int whose methods fail": lambda: FailingInt(-5),
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "a huge float": lambda: 1e300,
    "True": lambda: True,
    "None": lambda: None,
    "bytes": lambda: b"bytes",
    "an object": object,
    "an object whose methods fail": Failing,
    "a class": lambda: Failing,
    "a list of such objects": lambda: [Failing()],
    "a list of huge integers": lambda: [10**5000],
    "a dict of huge integers": lambda: {10**5000: 1},
    "an endless generator": lambda: (str(number) for number in itertools.count()),
    "a generator that fails": failing_generator,
    "an endless mapping": Endless,
    "a mapping that fails": FailingMapping,
    "a mapping whose values fail": FailingValues,
}
each_value = pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    uri = f"memory://{tmp_path.name}" if request.param == "memory" else f"sqlite:///{tmp_path}/queues.db"
    with zaqar_core.connect(uri, metadata_ttl=0) as opened:
        opened.queues.create("q", {"a": 1})
        opened.messages.post("q", [NewMessage(1)])
        yield opened


CORE_ONLY = ("close", "drop", "leave", "members", "move", "capabilities_by_pool")


def methods(storage: Storage) -> Iterator[tuple[str, Callable[..., object]]]:
    """The public methods of the controllers, of ``Storage`` and of the handles, by name."""
    handle = storage.queue("q")
    claim = handle.claim(limit=1, ttl=600)
    [message] = claim
    objects = {name: getattr(storage, name) for name in CONTROLLERS}
    objects |= {"storage": storage, "handle": handle, "claim": claim, "message": message}
    for noun, owner in objects.items():
        for name, method in inspect.getmembers(owner, inspect.ismethod):
            if not name.startswith("_") and name not in CORE_ONLY:
                yield f"{noun}.{name}", method


VALID: dict[str, Any] = {
    "queue": "q",
    "name": "q",
    "message_id": "none",
    "message_ids": ["none"],
    "claim_id": "none",
    "claim_ids": ["none"],
    "messages": [NewMessage(2)],
    "metadata": {},
    "subscriber": "https://example.org",
    "subscription_id": "none",
    "uri": "memory://pool",
    "pool": "p",
    "pools": ["p"],
    "flavor": "f",
    "body": 1,
    "options": {},
    "changes": {},
}


def is_allowed(parameter: inspect.Parameter, value: object) -> bool:
    """Whether the value is not wrong for this argument."""
    if value is None:
        return parameter.default is None or parameter.name == "body"
    if isinstance(value, FailingValues):  # a collection of one key
        return parameter.name in ("message_ids", "claim_ids", "pools", "remove", "codecs")
    return value is True and parameter.name in FLAGS | {"body"}


def names(error: Exception, argument: str) -> bool:
    said = SAID.get(argument, argument.replace("_", " ").removesuffix("s")).split("|")
    return any(word in str(error).replace("_", " ") for word in said)


def complaint(name: str, argument: str, call: Callable[[], object]) -> str:
    """What is wrong with how a call refused an argument; "" if nothing is."""
    try:
        result = call()
        if inspect.isgenerator(result):
            next(result)
    except InvalidInput as error:
        if not names(error, argument) or len(str(error)) > 1_000:
            return f"{name}({argument}=...) does not name it, or says too much: {error}"
        return ""
    except BaseException as error:
        return f"{name}({argument}=...) raised {error!r}"
    return f"{name}({argument}=...) took it"


@each_value
def test_each_argument_is_refused_by_name_and_nothing_is_written(storage: Storage, make: Callable[[], object]) -> None:
    complaints = []
    for name, method in methods(storage):
        parameters = inspect.signature(method).parameters
        needed = [each for each, other in parameters.items() if other.default is inspect.Parameter.empty]
        for argument, parameter in parameters.items():
            value = make()
            if argument != "body" and not is_allowed(parameter, value):
                given = {**{each: VALID[each] for each in needed}, argument: value}
                complaints.append(complaint(name, argument, partial(method, **given)))
    assert [said for said in complaints if said] == []
    assert len(complaints) > 60
    assert [entry.name for entry in storage.queues.list().items] == ["q"]
    assert storage.queues.get_metadata("q") == {"a": 1}
    assert (storage.messages.stats("q").total, storage.messages.stats("q").claimed) == (1, 1)
    assert storage.subscriptions.list("q").items == []
    assert not [*storage.pools.list().items, *storage.flavors.list().items, *storage.catalogue.list().items]


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("argument", ["body", "ttl", "delay", "headers", "dedup_id"])
def test_each_part_of_a_message_is_refused_by_name_and_nothing_is_written(
    storage: Storage, argument: str, what: str
) -> None:
    if what in {"body": ("True", "None", "a huge float"), "headers": ()}.get(argument, ("None",)):
        return  # which is right
    value = HOSTILE[what]()
    for wrong in [value, [1, value], {"a": value}] if argument == "body" else [value]:
        given: Any = {"body": 1, argument: wrong}
        with pytest.raises(InvalidInput, match=r"^message 1: ") as raised:
            storage.messages.post("new", [NewMessage(1), NewMessage(**given)])
        assert names(raised.value, argument)
    assert not storage.queues.exists("new")
    assert storage.messages.stats("new").total == 0


@each_value
def test_each_argument_of_connect_is_refused_by_name(make: Callable[[], object]) -> None:
    for argument, parameter in inspect.signature(zaqar_core.connect).parameters.items():
        value = make()
        if is_allowed(parameter, value) or (argument == "options" and isinstance(value, bool | int | float)):
            continue
        arguments: dict[str, Any] = {"uri": "memory://hostile"}
        arguments |= {"synchronous": value} if argument == "options" else {argument: value}
        with pytest.raises((InvalidInput, CodecError)) as raised:
            zaqar_core.connect(**arguments).close()
        assert names(raised.value, "synchronous" if argument == "options" else argument), raised.value


@pytest.mark.parametrize("what", HOSTILE)
def test_each_limit_is_refused_by_name(what: str) -> None:
    for bound, parameter in inspect.signature(Limits).parameters.items():
        allowed = {"an integer of 5 000 digits"} | ({"a huge float"} if isinstance(parameter.default, float) else set())
        if what not in allowed:
            value: Any = HOSTILE[what]()
            with pytest.raises(InvalidInput) as raised:
                zaqar_core.connect("memory://hostile", limits=Limits(**{bound: value})).close()
            assert names(raised.value, bound), raised.value


def test_an_endless_batch_is_read_to_one_above_the_limit() -> None:
    limits = Limits(max_messages_per_post=3, max_ids_per_call=3)
    with zaqar_core.connect("memory://hostile-batches", limits=limits) as storage:
        calls: list[Callable[[Iterator[Any]], object]] = [
            lambda batch: storage.messages.post("q", batch),
            lambda batch: storage.messages.bulk_get("q", batch),
            lambda batch: storage.messages.bulk_delete("q", batch),
            lambda batch: storage.messages.bulk_delete("q", ["a"], claim_ids=batch),
            lambda batch: storage.claims.delete("q", "c", message_ids=batch),
        ]
        for call in calls:
            numbers = itertools.count()
            with pytest.raises(InvalidInput, match=r"more than 3"):
                call(NewMessage(number) if call is calls[0] else str(number) for number in numbers)
            assert next(numbers) == 4


class FailingText(str):  # noqa: SLOT000
    """Text whose methods fail is read as the text that it is."""

    __repr__ = __str__ = __eq__ = __hash__ = __len__ = __iter__ = __contains__ = fails
    encode: Any = fails
    partition: Any = fails


def test_a_subclass_of_str_is_the_text_that_it_is(storage: Storage) -> None:
    name: Any = FailingText("text")
    storage.messages.post(name, [NewMessage("text", headers={"h": name}, dedup_id=name)], project=name, client_id=name)
    [message] = storage.messages.list("text", project="text").items
    assert (message.body, message.headers, message.client_id) == ("text", {"h": "text"}, "text")
    assert storage.queues.list(project=name, prefix=name, marker=FailingText("a")).items[0].name == "text"
    assert storage.subscriptions.create(name, subscriber=FailingText("https://example.org"), project=name)
    with zaqar_core.connect(FailingText("memory://hostile-text"), control=FailingText("memory://x")) as other:
        other.pools.create(name, uri=FailingText("memory://pool"), options={})
