"""What a URI says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from zaqar_core.errors import InvalidOption, InvalidUri
from zaqar_core.uri import Uri
from zaqar_redis.options import Address, Options, Place, options_of, place_of

A, B = Address("a", 6379), Address("b", 7000)


def place(text: str, **options: object) -> Place:
    uri = Uri.parse(text, options)
    return place_of(uri, options_of(uri))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("redis://", Place("server", (Address(),))),
        ("redis://a", Place("server", (A,))),
        ("redis://user:pass@b:7000/1", Place("server", (B,), database=1)),
        ("redis://:7000", Place("server", (Address("localhost", 7000),))),
        ("redis://[::1]:7000", Place("server", (Address("::1", 7000),))),
        ("redis://[::1]/0", Place("server", (Address("::1", 6379),))),
        ("redis://a/15", Place("server", (A,), database=15)),
        ("rediss://a", Place("server", (A,), tls=True)),
        ("redis+unix:///run/redis.sock", Place("server", (Address(path="/run/redis.sock"),))),
        ("redis+unix:///a%20b?database=3", Place("server", (Address(path="/a b"),), database=3)),
        ("redis+sentinel://a,b:7000/main", Place("sentinel", (Address("a", 26379), B), service="main")),
        ("rediss+sentinel://b:7000/main/2", Place("sentinel", (B,), tls=True, service="main", database=2)),
        ("redis+cluster://a,b:7000", Place("cluster", (A, B))),
        ("rediss+cluster://a/0", Place("cluster", (A,), tls=True)),
    ],
)
def test_what_uris_point_at(uri: str, expected: Place) -> None:
    assert place(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        *("redis://a:b", "redis://a:0", "redis://a:65536", "redis://a,b", "redis://a:", "redis://::1:7000"),
        *("redis://a/x", "redis://a/-1", "redis://a/1/2", "redis://a/%D9%A1", "redis://a/1111111111"),
        *("redis+unix://a/b", "redis+unix://", "redis+unix:///", "redis+unix:///a%00b"),
        *("redis+sentinel://a", "redis+sentinel://a/main/x", "redis+sentinel://a:x/main"),
        "redis+cluster://a/1",
        *("redis://u\ud800@a", "redis://:p\ud800@a", "redis+unix:///\ud800", "redis+sentinel://a/\ud800"),
        *("redis://a b", "redis://a,b c", "redis://a..b", "redis://" + "a" * 64, "redis://[a]", "redis+cluster://a,*"),
    ],
)
def test_what_points_at_nothing(uri: str) -> None:
    with pytest.raises(InvalidUri):
        place(uri)


def test_an_address_shows_as_it_is_written() -> None:
    assert [str(Address("a", 1)), str(Address("::1", 2)), str(Address(path="/x"))] == ["a:1", "[::1]:2", "/x"]


@pytest.mark.parametrize(
    ("uri", "option"),
    [
        ("redis://a", "database"),
        ("redis://a", "tls_ca"),
        ("redis+unix:///a", "tls_verify"),
        ("redis+cluster://a", "sentinel_username"),
        ("rediss://a", "sentinel_password"),
    ],
)
def test_options_of_other_schemes_are_refused(uri: str, option: str) -> None:
    with pytest.raises(InvalidOption, match=f"{option} is for"):
        options_of(Uri.parse(uri, {option: 1}))


def test_files_of_tls(tmp_path: Path) -> None:
    path = tmp_path / "file.pem"
    for option in ("tls_ca", "tls_cert", "tls_key"):
        with pytest.raises(InvalidOption, match=f"{option}=.*not a file"):
            options_of(Uri.parse("rediss://a", {option: str(path)}))
    path.touch()
    for option in ("tls_cert", "tls_key"):
        with pytest.raises(InvalidOption, match="both"):
            options_of(Uri.parse("rediss://a", {option: str(path)}))
    with pytest.raises(InvalidOption, match=r"tls_ca=.*no certificate"):
        options_of(Uri.parse(f"rediss://a?tls_ca={path}"))
    authority = trustme.CA()
    one, other = authority.issue_cert("one"), authority.issue_cert("other")
    ca, cert, key, others = (str(tmp_path / name) for name in ("ca.pem", "cert.pem", "key.pem", "others.pem"))
    authority.cert_pem.write_to_path(ca)
    one.cert_chain_pems[0].write_to_path(cert)
    one.private_key_pem.write_to_path(key)
    other.private_key_pem.write_to_path(others)
    for wrong in (others, cert, str(path)):
        with pytest.raises(InvalidOption, match=r"tls_cert=.*belong together"):
            options_of(Uri.parse(f"rediss://a?tls_cert={cert}&tls_key={wrong}"))
    options = options_of(Uri.parse(f"rediss://a?tls_cert={cert}&tls_key={key}&tls_verify=false&tls_ca={ca}"))
    assert options == Options(tls_cert=cert, tls_key=key, tls_verify=False, tls_ca=ca)


def test_a_key_with_a_passphrase_is_refused_without_a_prompt(tmp_path: Path) -> None:
    one = trustme.CA().issue_cert("one")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    one.cert_chain_pems[0].write_to_path(str(cert))
    plain = load_pem_private_key(one.private_key_pem.bytes(), None)
    locked = BestAvailableEncryption(b"passphrase")
    key.write_bytes(plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    with pytest.raises(InvalidOption, match="unencrypted"):
        options_of(Uri.parse(f"rediss://a?tls_cert={cert}&tls_key={key}"))


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
        {"max_connections": "9" * 5_000},
        {"prefixes": "a"},
    ],
)
def test_options_out_of_bounds(option: dict[str, object]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(option))):
        options_of(Uri.parse("redis://a", option))


@pytest.mark.parametrize(
    ("scheme", "option"),
    [
        ("redis+sentinel", {"sentinel_password": "\ud800"}),
        ("redis+sentinel", {"sentinel_username": "\ud800"}),
        ("rediss", {"tls_ca": "\ud800"}),
        ("rediss", {"tls_ca": "\0"}),
        ("rediss", {"tls_ca": "/"}),
        ("rediss", {"tls_ca": "x" * 5_000}),
    ],
)
def test_options_that_no_server_or_file_system_takes(scheme: str, option: dict[str, object]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(option))):
        options_of(Uri.parse(f"{scheme}://a/main", option))


def test_options() -> None:
    options = options_of(Uri.parse("redis://a?prefix=my:app&protocol=3&max_connections=5"))
    assert (options.prefix, options.protocol, options.max_connections) == ("my:app", 3, 5)
