"""The rules for what applications pass in. Each error names the value, the rule and the remedy."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

from zaqar_core import limits as bounds
from zaqar_core import settings
from zaqar_core.contract import NO_HEADERS
from zaqar_core.encoding import encode, has_surrogate, shown
from zaqar_core.errors import (
    BatchTooLarge,
    InvalidClientId,
    InvalidDedupId,
    InvalidDuration,
    InvalidHeaders,
    InvalidId,
    InvalidInput,
    InvalidLimit,
    InvalidMarker,
    InvalidMetadata,
    InvalidPool,
    InvalidProject,
    InvalidQueueName,
    InvalidSubscription,
    InvalidUri,
)
from zaqar_core.limits import Limits
from zaqar_core.uri import Uri

SUBSCRIPTION_TTL = (bounds.MIN_DURATION, bounds.MAX_SUBSCRIPTION_TTL)
_SUBSCRIBER = re.compile(r"[a-z][a-z0-9+.-]*:[^\s\x00-\x1f\x7f]+\Z")
_DIGEST = re.compile(r"[A-Za-z0-9_-]+\Z")


def queue_name(value: object) -> str:
    """1 to 64 characters, at most 192 UTF-8 bytes."""
    name = _text(value, "queue name", 1, bounds.MAX_QUEUE_NAME, InvalidQueueName)
    size = len(name.encode())
    if size > bounds.MAX_QUEUE_NAME_BYTES:
        raise InvalidQueueName(
            f"queue name {shown(name)} has {size} UTF-8 bytes; at most {bounds.MAX_QUEUE_NAME_BYTES} are allowed: "
            "shorten it"
        )
    return name


def queue_prefix(value: object) -> str:
    """What a queue name may start with: nothing, or as much as a name."""
    return _text(value, "prefix", 0, bounds.MAX_QUEUE_NAME, InvalidQueueName)


def project(value: object) -> str:
    """0 to 256 characters."""
    return _text(value, "project", 0, bounds.MAX_PROJECT, InvalidProject)


def client_id(value: object) -> str:
    """1 to 128 characters."""
    return _text(value, "client id", 1, bounds.MAX_CLIENT_ID, InvalidClientId)


def dedup_id(value: object) -> str:
    """1 to 128 characters."""
    return _text(value, "dedup id", 1, bounds.MAX_DEDUP_ID, InvalidDedupId)


def duration(value: object, what: str, minimum: float, maximum: float, default: float | None = None) -> float:
    """A finite number of seconds within the bounds, as float. None: the ``default``, or the maximum if that is less."""
    if value is None and default is not None:
        return float(min(default, maximum))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidDuration(f"{what} is {shown(value)}; it is a finite number of seconds: pass an int or a float")
    number = float.__float__(value) if isinstance(value, float) else int.__int__(value)
    if not minimum <= number <= maximum:  # nor is NaN
        raise InvalidDuration(
            f"{what} is {shown(value)} s; it must lie between {minimum:.10g} and {maximum:.10g} s: change it"
        )
    return float(number)


def flag(value: object, what: str) -> bool:
    """True or False; nothing else, however it counts in an ``if``: ``"no"`` would be true."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} is {shown(value)}, of type {type(value).__name__}; pass True or False")
    return value


def limit(value: object, maximum: int, default: int | None = None) -> int:
    """A whole number from 1 to ``maximum``. None: the ``default``, or the maximum if that is less."""
    if value is None and default is not None:
        return min(default, maximum)
    number = _whole(value)
    if number is None or not 1 <= number <= maximum:
        raise InvalidLimit(f"limit is {shown(value)}; it is a whole number from 1 to {maximum}: change it")
    return number


def marker(value: object) -> str | None:
    """A marker as a page gave it, or None for the start. The driver knows whether it is one of its own."""
    if value is None:
        return None
    if isinstance(value, str):
        return _plain(value)
    raise InvalidMarker(f"marker is {shown(value)}; pass the text that a page gave as its marker, or None")


def identifier(value: object, what: str) -> str:
    """Any string; whether it names something is the driver's to say."""
    if isinstance(value, str):
        return _plain(value)
    raise InvalidId(f"{what} is {shown(value)}; ids are strings: pass the id that was given")


def identifiers(values: object, what: str, maximum: int) -> list[str]:
    """A collection of strings, at most ``maximum``."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidId(f"{what}s is {shown(values)}; pass a list of ids")
    found = items(values, f"{what}s", maximum, InvalidId)
    if len(found) > maximum:
        raise InvalidInput(f"{_number(values, maximum)} {what}s in one call; at most {maximum} are allowed: split them")
    return [identifier(value, what) for value in found]


def headers(value: object) -> Mapping[str, str]:
    """Strings to strings, at most 4 KiB as JSON."""
    if type(value) is dict and not value:
        return NO_HEADERS
    if not isinstance(value, Mapping):
        raise InvalidHeaders(f"headers is {shown(value)}; pass a dict of strings to strings")
    plain = {}
    for name, text in _mapping(value, "headers", bounds.MAX_HEADERS_BYTES, InvalidHeaders).items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise InvalidHeaders(f"headers: {shown(name)} has the value {shown(text)}; both are strings: convert them")
        plain[_plain(name)] = _plain(text)
    size = len(encode(plain, "headers", InvalidHeaders))
    if size > bounds.MAX_HEADERS_BYTES:
        raise InvalidHeaders(
            f"headers have {size} bytes as JSON; at most {bounds.MAX_HEADERS_BYTES}: move some to the body"
        )
    return plain


def metadata(value: object, queue: str, limits: Limits, *, stored: Collection[str] = ()) -> bytes:
    """A JSON object whose reserved keys have values of their kind, as bytes; ``None`` means not set.

    ``stored``: keys that the datastore has already. They may be unknown here, or beyond the limits of this client.
    """
    plain = _mapping(value, "metadata", limits.max_metadata_bytes, InvalidMetadata)
    data = encode(plain, "metadata", InvalidMetadata)
    if len(data) > limits.max_metadata_bytes:
        raise InvalidMetadata(
            f"metadata has {len(data)} bytes as JSON; at most {limits.max_metadata_bytes}: shorten it"
        )
    for key in plain:
        if key.startswith("_") and key not in settings.NAMES and key not in stored:
            raise _unknown_name(key)
    try:
        _reserved({key: item for key, item in plain.items() if item is not None}, queue, limits, stored)
    except (InvalidDuration, InvalidQueueName) as error:
        raise InvalidMetadata(str(error)) from error
    return data


def metadata_changes(changes: object, remove: object) -> tuple[dict[str, Any], set[str]]:
    """What to set and what to remove; a key cannot be in both. The result is checked by ``metadata``."""
    wanted, unwanted = _mapping(changes, "changes", bounds.MAX_METADATA_KEYS, InvalidMetadata), set[str]()
    if isinstance(remove, str) or not isinstance(remove, Iterable):
        raise InvalidMetadata(f"remove is {shown(remove)}; pass a list of keys")
    keys = items(remove, "remove", bounds.MAX_METADATA_KEYS, InvalidMetadata)
    if len(keys) > bounds.MAX_METADATA_KEYS:
        raise InvalidMetadata(f"remove has more than {bounds.MAX_METADATA_KEYS} keys; split it")
    for key in keys:
        if not isinstance(key, str):
            raise InvalidMetadata(f"remove contains {shown(key)}; keys are strings: pass the key's name")
        if key in wanted:
            raise InvalidMetadata(f"metadata key {shown(key)} is both set and removed; choose one")
        unwanted.add(key)
    return wanted, unwanted


def removal(keys: Collection[str], stored: Collection[str]) -> None:
    """Refuse to remove what is neither stored nor known: it is probably misspelt."""
    for key in keys:
        if key.startswith("_") and key not in settings.NAMES and key not in stored:
            raise _unknown_name(key, "remove contains")


def pool_name(value: object) -> str:
    """As a queue's name."""
    return _name(value, "pool name")


def pool_names(values: object) -> tuple[str, ...]:
    """A collection of pools' names, each once."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidPool(f"pools is {shown(values)}; pass a list of names")
    found = items(values, "pools", bounds.MAX_POOLS_PER_FLAVOR, InvalidPool)
    if len(found) > bounds.MAX_POOLS_PER_FLAVOR:
        most = bounds.MAX_POOLS_PER_FLAVOR
        raise InvalidPool(f"{_number(values, most)} pools in one call; at most {most} are allowed: leave some out")
    return tuple(dict.fromkeys(map(pool_name, found)))


def flavor_name(value: object) -> str:
    """As a queue's name."""
    return _name(value, "flavor name")


def flavor_or_none(value: object) -> str:
    """A flavor's name, or "" for none."""
    return "" if isinstance(value, str) and not _plain(value) else flavor_name(value)


def limits(value: object) -> Limits:
    """Limits, the defaults for None."""
    if value is None:
        return Limits()
    if not isinstance(value, Limits):
        raise InvalidInput(f"limits is {shown(value)}; pass zaqar_core.Limits(...) or None")
    return value


def pool_uri(value: str) -> str:
    """A URI of at most 8192 characters; the text is kept, with its secrets."""
    scheme = Uri.parse(value).scheme
    text = _plain(value)
    if has_surrogate(text) or len(text) > bounds.MAX_POOL_URI:
        raise InvalidUri(
            f"the {scheme} URI contains a lone surrogate or has more than {bounds.MAX_POOL_URI} characters; shorten it"
        )
    return text


def weight(value: object) -> int:
    """A whole number from 0."""
    number = _whole(value)
    if number is None or not 0 <= number <= bounds.MAX_POOL_WEIGHT:
        raise InvalidPool(
            f"weight is {shown(value)}; it is a whole number from 0 to {bounds.MAX_POOL_WEIGHT}: change it"
        )
    return number


def pool_options(value: object) -> dict[str, Any]:
    """Options as ``connect`` takes them: strings to scalars. Their values are never shown."""
    options = _options(value, InvalidPool)
    for name, option in options.items():
        if not isinstance(option, str | int | float):
            raise InvalidPool(f"option {shown(name)} is a {type(option).__name__}; pass a string, number or bool")
    return options


def subscriber(value: object) -> str:
    """A URI of 1 to 2048 characters; it is never shown, since it may hold a secret."""
    plain = _plain(value) if isinstance(value, str) else ""
    if not _SUBSCRIBER.match(plain) or has_surrogate(plain):
        raise InvalidSubscription(
            "subscriber is no URI; write a scheme and an address without spaces: https://..., mailto:..."
        )
    if len(plain) > bounds.MAX_SUBSCRIBER:
        raise InvalidSubscription(
            f"subscriber has {len(plain)} characters; at most {bounds.MAX_SUBSCRIBER} are allowed: shorten it"
        )
    return plain


def subscription_options(value: object) -> dict[str, Any]:
    """A JSON object."""
    return _options(value, InvalidSubscription)


def name_marker(value: object) -> str:
    """The marker of a listing by name: the last name shown; "" for the start."""
    if value is None or (isinstance(value, str) and not _plain(value)):
        return ""
    try:
        return queue_name(value)
    except InvalidQueueName as error:
        text = str(error).replace("queue name", "marker", 1)
        raise InvalidMarker(f"{text}; pass the text that a page gave as its marker, or None") from error


def digest_marker(value: object, length: int) -> str:
    """The marker of a listing by digest; "" for the start."""
    plain = "" if value is None else _plain(value) if isinstance(value, str) else None
    if plain == "":
        return ""
    if plain is None or len(plain) != length or not _DIGEST.match(plain):
        raise InvalidMarker(f"marker is {shown(value)}, which no page gave; pass back a page's marker, or None")
    return plain


def items(values: Iterable[object], what: str, maximum: int, error: type[InvalidInput]) -> list[Any]:
    """A collection's items, but at most one more than ``maximum``: it may never end."""
    if type(values) is list or type(values) is tuple:  # an exception here is a signal handler's, and passes
        return list(values[: maximum + 1])
    try:
        return list(islice(iter(values), maximum + 1))
    except Exception as failure:
        raise error(
            f"{what} cannot be read: iterating over the {type(values).__name__} raised {type(failure).__name__}; pass "
            "a list"
        ) from failure


def _name(value: object, what: str) -> str:
    try:
        return queue_name(value)
    except InvalidQueueName as error:
        raise InvalidPool(str(error).replace("queue name", what, 1)) from None


def _options(value: object, error: type[InvalidInput]) -> dict[str, Any]:
    """Strings to JSON values. Their values are never shown, as they may be secrets."""
    if not isinstance(value, Mapping):
        raise error(f"options is a {type(value).__name__}; pass a dict of names to values")
    options = _mapping(value, "options", bounds.MAX_OPTIONS_BYTES, error)
    size = len(encode(options, "options", error))
    if size > bounds.MAX_OPTIONS_BYTES:
        raise error(f"options have {size} bytes as JSON; at most {bounds.MAX_OPTIONS_BYTES} are allowed: shorten them")
    return options


def _reserved(metadata: Mapping[str, Any], queue: str, limits: Limits, stored: Collection[str]) -> None:
    """Check the keys that the core acts on; any other key is the application's own.

    The limits do not apply to ``stored`` ones.
    """
    for key, minimum, maximum in (
        ("_default_message_ttl", bounds.MIN_DURATION, limits.max_message_ttl),
        ("_default_message_delay", 0.0, limits.max_message_delay),
        ("_dead_letter_queue_messages_ttl", bounds.MIN_DURATION, limits.max_message_ttl),
    ):
        if key in metadata:
            bounds_here = (0.0, settings.LONGEST) if key in stored else (minimum, maximum)
            duration(metadata[key], key, *bounds_here)
    delay, ttl = metadata.get("_default_message_delay", 0.0), metadata.get("_default_message_ttl")
    own = "_default_message_ttl" if ttl is not None else "_default_message_ttl, which is not set,"
    if ttl is None:
        most = bounds.DEFAULT_MESSAGE_TTL if "_default_message_delay" in stored else limits.max_message_ttl
        ttl = min(bounds.DEFAULT_MESSAGE_TTL, most)
    if delay > 0 and delay >= ttl:
        raise InvalidMetadata(
            f"_default_message_delay is {delay:.10g} s and {own} is {ttl:.10g} s: such messages would expire before "
            "they come; make the delay less than the ttl, or set both together"
        )
    for key in ("_max_messages_post_size", "_max_claim_count"):
        count = metadata.get(key, 1)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InvalidMetadata(f"{key} is {shown(count)}; it is a whole number of at least 1: change it")
    if "_dead_letter_queue" in metadata:
        if queue_name(metadata["_dead_letter_queue"]) == queue:
            raise InvalidMetadata(f"_dead_letter_queue is the queue {queue!r} itself; name another queue")
        if "_max_claim_count" not in metadata:
            raise InvalidMetadata(
                "_dead_letter_queue is set, but _max_claim_count is not, so no message would ever go there; set "
                "_max_claim_count to how many times a message may be claimed, such as 3"
            )
    elif "_dead_letter_queue_messages_ttl" in metadata:
        raise InvalidMetadata(
            "_dead_letter_queue_messages_ttl is set, but _dead_letter_queue is not, so there would be no dead letters; "
            "set _dead_letter_queue to the name of a queue, or remove both"
        )
    flavor = metadata.get("_flavor", "")
    if not isinstance(flavor, str):
        raise InvalidMetadata(f"_flavor is {shown(flavor)}; it is the name of a flavor: pass a string")


def _unknown_name(key: str, where: str = "metadata has") -> InvalidMetadata:
    close = get_close_matches(key.lower(), settings.NAMES, n=1)
    meant = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(settings.NAMES)}."
    return InvalidMetadata(
        f"{where} the unknown key {shown(key)}, and names that begin with '_' are reserved; {meant} For a key of "
        "your own, leave out the '_'"
    )


def batch(messages: object, maximum: int) -> Sequence[Any]:
    """The messages of a post, 1 to ``maximum``, as a list."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InvalidInput(f"messages is a {type(messages).__name__}; pass a list of NewMessage")
    found = items(messages, "messages", maximum, InvalidInput)
    if not 1 <= len(found) <= maximum:
        remedy = "split it" if found else "pass at least one"
        count = _number(messages, maximum) if found else 0
        raise BatchTooLarge(f"a post of {count} messages; 1 to {maximum} are allowed: {remedy}")
    return found


def _read(value: Mapping[Any, Any], limit: int) -> dict[Any, Any]:
    return {key: value[key] for key in islice(iter(value), limit)}


def _number(values: object, maximum: int) -> str:
    """How many they are, where they are more than ``maximum``; what is no list is not read to its end."""
    exact = len(values) if type(values) is list or type(values) is tuple else None
    return f"more than {maximum}" if exact is None else str(exact)


def _mapping(value: object, what: str, maximum: int, error: type[InvalidInput]) -> dict[Any, Any]:
    """A dict with the mapping's items, of which there are at most ``maximum``."""
    if not isinstance(value, Mapping):
        raise error(f"{what} is {shown(value)}; pass a dict")
    try:
        # Of a plain dict in one call into C: an exception that comes here is a signal handler's, and passes.
        found = dict(islice(value.items(), maximum + 1)) if type(value) is dict else _read(value, maximum + 1)
    except Exception as failure:
        if type(value) is dict:
            raise
        raise error(
            f"{what} cannot be read: reading the {type(value).__name__} raised {type(failure).__name__}; pass a dict"
        ) from failure
    if len(found) > maximum:
        raise error(f"{what} has more than {maximum} keys, and at most {maximum} bytes as JSON are allowed: shorten it")
    return found


def _whole(value: object) -> int | None:
    """A whole number as an int itself; None for what is none, such as True."""
    return None if isinstance(value, bool) or not isinstance(value, int) else int.__int__(value)


def _text(value: object, what: str, shortest: int, longest: int, error: type[InvalidInput]) -> str:
    if not isinstance(value, str):
        raise error(f"{what} is {shown(value)}, of type {type(value).__name__}; pass a string")
    text = _plain(value)
    if not shortest <= len(text) <= longest:
        remedy = "shorten it" if text else "name one"
        raise error(f"{what} {shown(text)} has {len(text)} characters; {shortest} to {longest} are allowed: {remedy}")
    if "\0" in text or has_surrogate(text):
        raise error(f"{what} {shown(text)} contains U+0000 or a lone surrogate; remove it")
    return text


def _plain(value: str) -> str:
    """A str itself: a member of an enumeration that mixes str in would print differently in drivers."""
    return str.__str__(value)
