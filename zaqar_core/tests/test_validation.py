"""The rules for input: what is just allowed passes, what is just not is refused with value, rule and remedy."""

from __future__ import annotations

import enum
import re
from collections import ChainMap
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from zaqar_core import Limits, Storage, connect, validation
from zaqar_core.contract import new_id
from zaqar_core.errors import (
    InvalidClientId,
    InvalidDedupId,
    InvalidDuration,
    InvalidHeaders,
    InvalidId,
    InvalidInput,
    InvalidLimit,
    InvalidMarker,
    InvalidMetadata,
    InvalidProject,
    InvalidQueueName,
)

Rule = Callable[[Any], object]


class Key(str, enum.Enum):  # noqa: UP042  # whose str() is not its value
    ORDERS = "orders"


def refused(error: type[InvalidInput], message: str, rule: Rule, value: object) -> None:
    with pytest.raises(error, match=re.escape(message)) as raised:
        rule(value)
    assert type(raised.value) is error


TEXTS: list[Any] = [
    pytest.param(validation.queue_name, InvalidQueueName, "queue name", 1, 64, id="queue_name"),
    pytest.param(validation.queue_prefix, InvalidQueueName, "prefix", 0, 64, id="queue_prefix"),
    pytest.param(validation.project, InvalidProject, "project", 0, 256, id="project"),
    pytest.param(validation.client_id, InvalidClientId, "client id", 1, 128, id="client_id"),
    pytest.param(validation.dedup_id, InvalidDedupId, "dedup id", 1, 128, id="dedup_id"),
]
of_each_text = pytest.mark.parametrize(("rule", "error", "what", "shortest", "longest"), TEXTS)


@of_each_text
def test_text_of_any_length_allowed_passes_as_it_is(
    rule: Rule, error: type[InvalidInput], what: str, shortest: int, longest: int
) -> None:
    for text in ("x" * shortest, "x" * longest, "\x01 \x7f\u2028", "\ud7ff\ue000\uffff", "\U0010ffff" * 48):
        assert rule(text) == text


@of_each_text
def test_text_of_another_length_is_refused_with_its_length_and_the_bounds(
    rule: Rule, error: type[InvalidInput], what: str, shortest: int, longest: int
) -> None:
    text = "x" * (longest + 1)
    rest = f"has {longest + 1} characters; {shortest} to {longest} are allowed: shorten it"
    refused(error, rest, rule, text)
    refused(error, f"{what} '{'x' * 10}", rule, text)
    if shortest:
        refused(error, f"{what} '' has 0 characters; {shortest} to {longest} are allowed: name one", rule, "")


@of_each_text
@pytest.mark.parametrize("bad", ["\0", chr(0xD800), chr(0xDFFF)], ids=ascii)
def test_text_with_nul_or_a_surrogate_is_refused(
    rule: Rule, error: type[InvalidInput], what: str, shortest: int, longest: int, bad: str
) -> None:
    refused(error, f"{what} {f'a{bad}b'!r} contains U+0000 or a lone surrogate; remove it", rule, f"a{bad}b")


@of_each_text
@pytest.mark.parametrize("bad", [None, 5, True, b"bytes", ["x"]])
def test_what_is_no_text_is_refused_with_its_type(
    rule: Rule, error: type[InvalidInput], what: str, shortest: int, longest: int, bad: object
) -> None:
    refused(error, f"{what} is {bad!r}, of type {type(bad).__name__}; pass a string", rule, bad)


@of_each_text
def test_a_member_of_an_enumeration_becomes_its_text(
    rule: Rule, error: type[InvalidInput], what: str, shortest: int, longest: int
) -> None:
    assert type(rule(Key.ORDERS)) is str
    assert f"{rule(Key.ORDERS)}" == "orders"


def test_a_queue_name_has_at_most_192_bytes() -> None:
    assert validation.queue_name("\u20ac" * 64) == "\u20ac" * 64
    refused(
        InvalidQueueName,
        "has 193 UTF-8 bytes; at most 192 are allowed: shorten it",
        validation.queue_name,
        "\U0001f600" * 48 + "x",
    )


# --- numbers ----------------------------------------------------------------------------------------


def seconds(value: Any) -> float:
    return validation.duration(value, "ttl", 0.001, 1_209_600.0)


@pytest.mark.parametrize("value", [0.001, 1, 0.5, 1_209_600, 1_209_600.0])
def test_a_duration_within_its_bounds_becomes_a_float(value: float) -> None:
    assert (seconds(value), type(seconds(value))) == (value, float)


@pytest.mark.parametrize(
    "value", [0, -1, -0.0, 0.000999, 1_209_600.001, 10**400, -(10**400), float("nan"), float("inf"), float("-inf")]
)
def test_a_duration_beyond_its_bounds_is_refused_with_both_written_out(value: float) -> None:
    refused(InvalidDuration, "s; it must lie between 0.001 and 1209600 s: change it", seconds, value)
    refused(InvalidDuration, f"ttl is {repr(value)[:77]}", seconds, value)


@pytest.mark.parametrize("value", [None, True, "5", b"5", 5j, [5]], ids=repr)
def test_a_duration_that_is_no_number_is_refused(value: object) -> None:
    refused(InvalidDuration, f"ttl is {value!r}; it is a finite number of seconds: pass an int", seconds, value)


def test_a_limit_is_a_whole_number_within_its_bounds() -> None:
    for value in (1, 9):
        assert validation.limit(value, 9) == value
    for bad in (0, -1, 10, True, 5.0, "5", None):
        rule = f"limit is {bad!r}; it is a whole number from 1 to 9: change it"
        refused(InvalidLimit, rule, lambda value: validation.limit(value, 9), bad)


# --- markers and ids --------------------------------------------------------------------------------


def test_a_marker_is_none_or_any_text() -> None:
    assert [validation.marker(value) for value in (None, "", "\0\ud800", "x" * 10_000)] == [
        None,
        "",
        "\0\ud800",
        "x" * 10_000,
    ]
    assert type(validation.marker(Key.ORDERS)) is str
    refused(InvalidMarker, "marker is 5; pass the text that a page gave as its marker, or None", validation.marker, 5)


def ids(values: Any) -> list[str]:
    return validation.identifiers(values, "message id", 3)


def test_ids_are_any_collection_of_texts_up_to_the_limit() -> None:
    for values in (["a", "b"], ("a", "b"), iter("ab"), {"a": 1, "b": 2}):
        assert ids(values) == ["a", "b"]
    assert ids(["", "\0", "a"]) == ["", "\0", "a"]
    assert type(ids([Key.ORDERS])[0]) is str
    refused(InvalidInput, "4 message ids in one call; at most 3 are allowed: split them", ids, ["a"] * 4)


def test_ids_that_are_none_are_refused() -> None:
    for bad in ("abc", None, 5):
        refused(InvalidId, f"message ids is {bad!r}; pass a list of ids", ids, bad)
    for wrong in (["a", None], b"a"):
        refused(InvalidId, "ids are strings: pass the id that was given", ids, wrong)


# --- headers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{}, {"a": "b"}, {"": ""}, MappingProxyType({"a": "b"}), ChainMap({"a": "b"}, {"c": "d"})]
)
def test_headers_are_any_mapping_of_texts(headers: Any) -> None:
    assert validation.headers(headers) == dict(headers)


def test_headers_that_are_members_of_an_enumeration_become_their_texts() -> None:
    [(name, text)] = validation.headers({Key.ORDERS: Key.ORDERS}).items()
    assert (type(name), type(text)) == (str, str)


def test_headers_are_not_those_that_the_caller_changes_later() -> None:
    given = {"a": "b"}
    checked = validation.headers(given)
    given["a"] = "c"
    assert checked == {"a": "b"}


def test_headers_have_at_most_4_kib_as_json() -> None:
    assert validation.headers({"a": "x" * 4088}) == {"a": "x" * 4088}
    refused(InvalidHeaders, "have 4097 bytes as JSON; at most 4096", validation.headers, {"a": "x" * 4089})
    refused(InvalidHeaders, "have 4098 bytes as JSON; at most 4096", validation.headers, {"a": "é" * 2045})


@pytest.mark.parametrize("bad", [None, [], "", 0, [("a", "b")], "ab"], ids=repr)
def test_headers_that_are_no_mapping_are_refused(bad: object) -> None:
    refused(InvalidHeaders, f"is {bad!r}; pass a dict of strings to strings", validation.headers, bad)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"a": 1}, "'a' has the value 1; both are strings: convert them"),
        ({1: "a"}, "1 has the value 'a'; both are strings"),
        ({"a": b"b"}, "'a' has the value b'b'; both are strings"),
        ({"a": "\ud800"}, "['a'] has a lone surrogate"),
    ],
)
def test_headers_of_anything_but_texts_are_refused(bad: object, why: str) -> None:
    refused(InvalidHeaders, why, validation.headers, bad)


# --- metadata ---------------------------------------------------------------------------------------

SMALL = Limits(max_metadata_bytes=100, max_message_ttl=1_000_000, max_message_delay=50)


_TTL, _DELAY = "_default_message_ttl", "_default_message_delay"


@pytest.fixture
def storage() -> Iterator[Storage]:
    with connect(f"memory://{new_id()}") as storage:
        yield storage


def metadata(value: Any) -> bytes:
    return validation.metadata(value, "orders", SMALL)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({}, b"{}"),
        ({"mine": None, "a": [1]}, b'{"mine":null,"a":[1]}'),
        ({"_default_message_ttl": None, "_flavor": None}, b'{"_default_message_ttl":null,"_flavor":null}'),
        ({"_dead_letter_queue": None, "_max_claim_count": 1}, b'{"_dead_letter_queue":null,"_max_claim_count":1}'),
        (MappingProxyType({"a": 1}), b'{"a":1}'),
        ({"_default_message_ttl": 0.001}, b'{"_default_message_ttl":0.001}'),
        ({"_default_message_ttl": 1_000_000}, b'{"_default_message_ttl":1000000}'),
        ({"_default_message_delay": 0}, b'{"_default_message_delay":0}'),
        ({"_max_claim_count": 1, "_flavor": ""}, b'{"_max_claim_count":1,"_flavor":""}'),
        (
            {"_dead_letter_queue": "Orders", "_max_claim_count": 3},
            b'{"_dead_letter_queue":"Orders","_max_claim_count":3}',
        ),
        ({"a": "x" * 92}, b'{"a":"' + b"x" * 92 + b'"}'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_metadata_becomes_json(value: object, data: bytes) -> None:
    assert metadata(value) == data


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "metadata is None; pass a dict"),
        ([("a", 1)], "metadata is [('a', 1)]; pass a dict"),
        ({"a": {"b": {1}}}, "metadata['a']['b'] is of type set"),
        ({"a": "x" * 93}, "metadata has 101 bytes as JSON; at most 100: shorten it"),
        (
            {"_default_message_ttl": 1_000_001},
            "_default_message_ttl is 1000001 s; it must lie between 0.001 and 1000000",
        ),
        ({"_default_message_ttl": 0}, "_default_message_ttl is 0 s"),
        (
            {"_default_message_delay": 20, "_default_message_ttl": 20},
            "_default_message_delay is 20 s and _default_message_ttl is 20 s: such messages would expire before",
        ),
        (
            {"_default_message_delay": 50, "_default_message_ttl": None},
            "_default_message_delay is 50 s and _default_message_ttl, which is not set, is 40 s: such messages would",
        ),
        ({"_max_claim_count": 3, "_dead_letter_queue_messages_ttl": 9}, "but _dead_letter_queue is not"),
        ({"_dead_letter_queue_messages_ttl": 9, "_dead_letter_queue": None}, "but _dead_letter_queue is not"),
        ({"_default_message_delay": 50.1}, "_default_message_delay is 50.1 s; it must lie between 0 and 50 s"),
        ({"_dead_letter_queue_messages_ttl": -1}, "_dead_letter_queue_messages_ttl is -1 s"),
        ({"_max_messages_post_size": 0}, "_max_messages_post_size is 0; it is a whole number of at least 1: change it"),
        ({"_max_claim_count": True}, "_max_claim_count is True; it is a whole number of at least 1"),
        ({"_max_claim_count": 1.0}, "_max_claim_count is 1.0; it is"),
        ({"_dead_letter_queue": ""}, "queue name '' has 0 characters"),
        ({"_dead_letter_queue": "orders"}, "_dead_letter_queue is the queue 'orders' itself; name another queue"),
        ({"_flavor": 1}, "_flavor is 1; it is the name of a flavor: pass a string"),
        ({"_dead_letter_queue": "dead"}, "_dead_letter_queue is set, but _max_claim_count is not"),
        ({"_dead_letter_queue": "dead", "_max_claim_count": None}, "but _max_claim_count is not"),
        ({"_max_claims_count": 3}, "unknown key '_max_claims_count', and names that begin with '_' are reserved; did"),
        ({"_max_claims_count": 3}, "did you mean '_max_claim_count'?"),
        ({"_Max_Claim_Count": None}, "did you mean '_max_claim_count'?"),
        ({"_x": 3}, "known are _default_message_ttl, "),
    ],
    ids=lambda value: str(value)[:40],
)
def test_metadata_that_breaks_a_rule_is_invalid_metadata_naming_value_rule_and_remedy(value: object, why: str) -> None:
    limits = replace(SMALL, max_message_ttl=40) if "which is not set" in why else SMALL
    refused(InvalidMetadata, why, lambda given: validation.metadata(given, "orders", limits), value)


def test_a_default_delay_is_compared_with_the_ttl_that_applies() -> None:
    ten_hours = Limits(max_message_delay=36_000)
    why = "_default_message_delay is 4000 s and _default_message_ttl, which is not set, is 3600 s"
    refused(InvalidMetadata, why, lambda given: validation.metadata(given, "q", ten_hours), {_DELAY: 4000})
    for fits in ({_DELAY: 3599}, {_DELAY: 4000, _TTL: 4001}, {_DELAY: 0}):
        assert validation.metadata(fits, "q", ten_hours)


def test_settings_can_be_set_and_removed_one_by_one(storage: Storage) -> None:
    storage.queues.create("q")
    settings = {
        _TTL: 9000,
        _DELAY: 4000,
        "_max_claim_count": 3,
        "_dead_letter_queue": "dead",
        "_dead_letter_queue_messages_ttl": 60,
    }
    for name, value in settings.items():
        storage.queues.update_metadata("q", {name: value})
    assert storage.queues.get_metadata("q") == settings
    for name in reversed(settings):
        storage.queues.update_metadata("q", remove=[name])
    assert storage.queues.get_metadata("q") == {}


def test_a_misspelt_setting_is_not_removed_without_a_word(storage: Storage) -> None:
    storage.queues.create("q", {"_max_claim_count": 3})
    why = "remove contains the unknown key '_max_claim_cuont', and names that begin with '_' are reserved; did you mean"
    refused(InvalidMetadata, why, lambda name: storage.queues.update_metadata("q", remove=[name]), "_max_claim_cuont")
    assert storage.queues.update_metadata("q", remove=["mine", "_flavor"]) == {"_max_claim_count": 3}


# --- batches ----------------------------------------------------------------------------------------


def test_a_batch_is_any_collection_but_texts_and_mappings() -> None:
    for messages in ([1, 2], (1, 2), iter([1, 2]), (number for number in (1, 2))):
        assert validation.batch(messages, 2) == [1, 2]
    for bad in ("text", b"bytes", {"a": 1}, None, 5):
        rule = f"messages is a {type(bad).__name__}; pass a list of NewMessage"
        refused(InvalidInput, rule, lambda messages: validation.batch(messages, 2), bad)


# --- flags ------------------------------------------------------------------------------------------


def test_a_flag_is_true_or_false_and_nothing_that_counts_as_one() -> None:
    assert validation.flag(True, "echo") is True
    assert validation.flag(False, "echo") is False
    for bad in (None, 0, 1, "no", "", (), 1.0):
        rule = f"echo is {bad!r}, of type {type(bad).__name__}; pass True or False"
        refused(InvalidInput, rule, lambda value: validation.flag(value, "echo"), bad)
