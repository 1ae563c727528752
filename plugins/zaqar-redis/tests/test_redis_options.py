"""What a URI says, and what is refused."""

from __future__ import annotations

import pytest

from zaqar_core.errors import InvalidOption, InvalidUri
from zaqar_core.uri import Uri
from zaqar_redis.options import Address, address_of, database_of, options_of


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("redis://", Address("localhost", 6379)),
        ("redis://example", Address("example", 6379)),
        ("redis://user:pass@example:7000/1", Address("example", 7000)),
        ("redis://:7000", Address("localhost", 7000)),
        ("redis://[::1]:7000", Address("::1", 7000)),
        ("redis://[::1]", Address("::1", 6379)),
    ],
)
def test_hosts_and_ports(uri: str, expected: Address) -> None:
    assert address_of(Uri.parse(uri)) == expected


@pytest.mark.parametrize("uri", ["redis://a:b", "redis://a:0", "redis://a:65536", "redis://a,b", "redis://a:"])
def test_what_is_no_host_and_port(uri: str) -> None:
    with pytest.raises(InvalidUri):
        address_of(Uri.parse(uri))


def test_an_address_shows_as_it_is_written() -> None:
    assert [str(Address("a", 1)), str(Address("::1", 2)), str(Address(path="/x"))] == ["a:1", "[::1]:2", "/x"]


@pytest.mark.parametrize(("path", "number"), [("", 0), ("/", 0), ("/0", 0), ("/15", 15)])
def test_the_path_is_the_number_of_the_database(path: str, number: int) -> None:
    assert database_of(Uri.parse(f"redis://a{path}")) == number


@pytest.mark.parametrize("path", ["/x", "/-1", "/1/2", "/\u0661", "/1111111111"])
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidUri):
        database_of(Uri.parse(f"redis://a{path}"))


@pytest.mark.parametrize(
    "option",
    [
        {"prefix": ""},
        {"prefix": "a{b}"},
        {"prefix": "a*"},
        {"prefix": "x" * 65},
        {"protocol": 4},
        {"max_connections": 0},
        {"max_connections": 10_001},
        {"max_connections": "many"},
        {"prefixes": "a"},
    ],
)
def test_options_out_of_bounds(option: dict[str, object]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(option))):
        options_of(Uri.parse("redis://a", option))


def test_options() -> None:
    options = options_of(Uri.parse("redis://a?prefix=my:app&protocol=3&max_connections=5"))
    assert (options.prefix, options.protocol, options.max_connections) == ("my:app", 3, 5)
