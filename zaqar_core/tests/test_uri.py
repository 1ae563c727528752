"""URIs of backends, and the typed options read from them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaqar_core.errors import InvalidOption, InvalidUri
from zaqar_core.uri import Uri, read_options

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)


def test_each_part_is_where_it_belongs() -> None:
    uri = Uri.parse("redis+tls://me:pw@a:1,b:2/0?x=1&y=two")
    assert (uri.scheme, uri.authority, uri.path) == ("redis+tls", "me:pw@a:1,b:2", "/0")
    assert (uri.username, uri.password, uri.hosts) == ("me", "pw", "a:1,b:2")
    assert uri.options == {"x": "1", "y": "two"}


@pytest.mark.parametrize(
    ("text", "username", "password", "hosts", "path"),
    [
        ("sqlite:///a/b.db", None, None, "", "/a/b.db"),
        ("sqlite://", None, None, "", ""),
        ("redis://h", None, None, "h", ""),
        ("redis://h?", None, None, "h", ""),
        ("redis://me@h", "me", None, "h", ""),
        ("redis://:pw@h", None, "pw", "h", ""),
        ("redis://me:@h", "me", "", "h", ""),
        ("redis://me:a:b%40c@h", "me", "a:b@c", "h", ""),
        ("redis://me:a:b@c@h", "me", "a:b@c", "h", ""),
        ("redis://:pw@/0", None, "pw", "", "/0"),
        (
            "redis://a.b_c-d.:1,[::1],[fe80::1%25eth0]:2,bücher.example",
            None,
            None,
            "a.b_c-d.:1,[::1],[fe80::1%25eth0]:2,bücher.example",
            "",
        ),
        ("redis://[::1]:6379/0", None, None, "[::1]:6379", "/0"),
        ("sqlite:///a%40b:c.db", None, None, "", "/a@b:c.db"),
        ("redis://h:1/a%40b", None, None, "h:1", "/a@b"),
        ("redis://me:pw@h:1/a%40b", "me", "pw", "h:1", "/a@b"),
        ("sqlite:///C:/a%20b%23%3f+.db", None, None, "", "/C:/a b#?+.db"),
    ],
)
def test_parts_that_are_missing_or_odd(
    text: str, username: str | None, password: str | None, hosts: str, path: str
) -> None:
    uri = Uri.parse(text)
    assert (uri.username, uri.password, uri.hosts, uri.path) == (username, password, hosts, path)


@pytest.mark.parametrize(
    "host", ["", "a", "a.b.", "my_redis", "bücher.example", "127.0.0.1:1", "[::1]:1", "[fe80::1%25lo]", "123456789012"]
)
def test_hosts_are_host_names_and_ip_addresses(host: str) -> None:
    assert Uri.parse(f"x://{host}/p").hosts == host


@settings(deadline=None, derandomize=True, database=None)
@given(user=TEXT, password=TEXT, path=TEXT, options=st.dictionaries(NAMES, TEXT, max_size=3))
def test_any_text_comes_through_percent_encoding(user: str, password: str, path: str, options: dict[str, str]) -> None:
    def code(text: str) -> str:
        return quote(text, safe="")

    query = "&".join(f"{code(name)}={code(value)}" for name, value in options.items())
    uri = Uri.parse(f"x://{code(user)}:{code(password)}@h/{code(path)}" + (f"?{query}" if query else ""))
    assert (uri.username, uri.password, uri.path, uri.options) == (user or None, password, f"/{path}", options)


@pytest.mark.parametrize("text", ["", "queues.db", "sqlite:/a", "SQLite:///a", "1x://a", "x y://a", "://a", "sqlite"])
def test_what_has_no_scheme_is_refused_and_not_echoed(text: str) -> None:
    with pytest.raises(InvalidUri, match=r"starts with a scheme in lower case and '://'; write for example"):
        Uri.parse(text)


@pytest.mark.parametrize("text", [None, 5, b"sqlite:///a", Path("a")])
def test_what_is_no_string_is_refused(text: Any) -> None:
    with pytest.raises(InvalidUri, match=rf"not {type(text).__name__}; write scheme://"):
        Uri.parse(text)


@pytest.mark.parametrize("stray", ["\n", "\t", "\r", "\0", "\x7f"])
def test_control_characters_are_refused_rather_than_dropped(stray: str) -> None:
    with pytest.raises(InvalidUri, match="contains a control character"):
        Uri.parse(f"x://h/a{stray}b")
    assert Uri.parse(f"x://h/a{quote(stray)}b").path == f"/a{stray}b"


@pytest.mark.parametrize("text", ["x://h/a#b", "x://h/a?b=c#d", "x://u:hunter2#@h", "x:///a.db#", "x:///#"])
def test_a_literal_hash_is_refused_rather_than_dropped(text: str) -> None:
    with pytest.raises(InvalidUri, match="write a literal '#' as %23"):
        Uri.parse(text)


@pytest.mark.parametrize(
    "text", ["x://h/%ff", "x://h?a", "x://h?a=1&b", "x://h?a=%ff", "x://%ff@h", "x://h?=1", "x://h?a%20b=1"]
)
def test_what_cannot_be_decoded_is_refused(text: str) -> None:
    with pytest.raises(InvalidUri, match="the x URI cannot be read"):
        Uri.parse(text)


@pytest.mark.parametrize(
    "text",
    ["x://me:hun/ter2@h", "x://:12/3@h/p", "x://me:a@b/c@h", "x:///a@b", "x://h?a=b@c", "x://:a?b=c@h", "x://a?b@h"],
)
def test_an_at_sign_that_could_end_a_password_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(InvalidUri, match=r"the x URI has an '@' behind a '/' or '\?'; write '@' as %40, and in"):
        Uri.parse(text)


@pytest.mark.parametrize(
    "host",
    [
        *("me:hunter2", "h:65536", "h:1:2", "h:" + "9" * 5000, "h:٣", "h:-1", "[::1", "::1", "[]", "[h]", "[::1]x"),
        *("a..b", "a" * 64, "a." * 127 + "a", ".a", "a b", "a%20b", "a\\b", "a;b", "😀", "\ud800", "a,b c", "h\uff1a1"),
        *("999.999.999.999", "1.2.3.4.5", "x.123"),
        "a" * 1_000_000,
    ],
    ids=lambda host: f"{ascii(host)[:20]} {len(host)}",
)
def test_what_is_no_host_and_port_is_refused_and_not_echoed(host: str) -> None:
    with pytest.raises(InvalidUri, match="the x URI has an invalid host or port; write host, host:port") as raised:
        Uri.parse(f"x://{host}/p")
    assert host not in str(raised.value)


# --- options ----------------------------------------------------------------------------------------


class Mode(str, enum.Enum):  # noqa: UP042  # whose str() is not its value
    WAL = "wal"


class Port(int, enum.Enum):
    HTTP = 80


def test_options_given_apart_are_those_of_the_uri_and_take_each_kind_of_value() -> None:
    extra = {"b": True, "c": 5, "d": 0.5, "e": "text", "f": Mode.WAL, "g": Port.HTTP}
    uri = Uri.parse("x://h?a=1", extra)
    assert uri.options == {"a": "1", "b": "true", "c": "5", "d": "0.5", "e": "text", "f": "wal", "g": "80"}
    assert all(type(value) is str for value in uri.options.values())
    assert uri == Uri.parse("x://h?a=1&b=true&c=5&d=0.5&e=text&f=wal&g=80")


@pytest.mark.parametrize(
    ("text", "extra"), [("x://h?a=1&a=2", {}), ("x://h?a=1", {"a": 2}), ("x://h?a=true", {"a": False})]
)
def test_options_that_disagree_are_refused(text: str, extra: dict[str, object]) -> None:
    with pytest.raises(InvalidOption, match="option 'a' is given twice with different values; give it once"):
        Uri.parse(text, extra)


def test_options_given_twice_that_agree_are_one() -> None:
    assert Uri.parse("x://h?a=1&a=1", {"a": 1}).options == {"a": "1"}


@pytest.mark.parametrize("value", [None, b"x", ["x"], {}, object()], ids=lambda value: type(value).__name__)
def test_an_option_of_another_kind_of_value_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"option 'a' is .*; pass a string, number or bool, or leave it out"):
        Uri.parse("x://h", {"a": value})


@dataclass
class Options:
    text: str = "t"
    whole: int = 1
    real: float = 1.0
    flag: bool = False
    choice: Literal["off", "FULL", 3] = "off"
    path: Path = Path()
    mode: Mode = Mode.WAL
    maybe: int | None = None
    maybe_choice: Literal["a"] | None = None
    tags: list[str] = field(default_factory=list)


def read(query: str) -> Options:
    return read_options(Options, Uri.parse(f"x://h?{query}"))


def test_without_options_there_are_the_defaults() -> None:
    assert read("") == Options()


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("text=%20a+b", " a b"),
        ("text=", ""),
        ("whole=-5", -5),
        ("real=1e3", 1000.0),
        ("real=5", 5.0),
        ("flag=TRUE", True),
        ("flag=1", True),
        ("flag=yes", True),
        ("flag=False", False),
        ("flag=0", False),
        ("flag=no", False),
        ("choice=full", "FULL"),
        ("choice=3", 3),
        ("path=a%2Fb", Path("a/b")),
        ("mode=wal", Mode.WAL),
        ("maybe=7", 7),
        ("maybe_choice=A", "a"),
    ],
)
def test_an_option_is_read_as_its_type(query: str, value: object) -> None:
    found = getattr(read(query), query.partition("=")[0])
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("whole=1.5", "whole='1.5' is not a whole number; write one"),
        ("whole=", "whole='' is not a whole number"),
        ("real=x", "real='x' is not a finite number"),
        ("real=nan", "real='nan' is not a finite number"),
        ("real=-1e999", "real='-1e999' is not a finite number"),
        ("flag=on", "flag='on' is not true or false; write one of them"),
        ("choice=on", "choice='on' is none of off, FULL, 3; choose one of them"),
        ("mode=x", "mode='x' is not a Mode"),
        ("maybe=none", "maybe='none' is not a whole number"),
        ("maybe_choice=b", "maybe_choice='b' is none of a"),
    ],
)
def test_a_value_of_another_type_is_refused_naming_value_rule_and_remedy(query: str, why: str) -> None:
    with pytest.raises(InvalidOption, match=why):
        read(query)


def test_a_number_of_too_many_digits_is_refused() -> None:
    with pytest.raises(InvalidOption, match="is not a whole number"):
        read("whole=" + "9" * 5000)


def test_an_unknown_option_is_refused_with_the_closest_or_else_with_all() -> None:
    with pytest.raises(InvalidOption, match="the x driver has no option 'wohle'; did you mean 'whole'"):
        read("wohle=1")
    with pytest.raises(InvalidOption, match="no option 'zzz'; known are: choice, flag, maybe, maybe_choice, mode"):
        read("zzz=1")


def test_a_driver_without_options_says_so() -> None:
    @dataclass
    class Nothing:
        pass

    with pytest.raises(InvalidOption, match="no option 'a'; known are: none"):
        read_options(Nothing, Uri.parse("x://h?a=1"))


def test_an_option_without_a_default_is_asked_for() -> None:
    @dataclass
    class Needs:
        region: str

    assert read_options(Needs, Uri.parse("x://h?region=here")).region == "here"
    with pytest.raises(InvalidOption, match=r"the x driver needs the option 'region'; add region=\.\.\. to the URI"):
        read_options(Needs, Uri.parse("x://h"))


# --- secrets ----------------------------------------------------------------------------------------

SECRET = "hunter2"
SECRET_OPTIONS = (
    "password",
    "PASSWD",
    "pwd",
    "client_secret",
    "auth_token",
    "key",
    "api_key",
    "credentials",
    "passphrase",
)


def test_str_shows_what_is_no_secret() -> None:
    uri = Uri.parse("redis://a:1,b:2/0%20%C3%BC%1b?x=1&keyspace=k&keys_of=3")
    assert str(uri) == "redis://a:1,b:2/0 ü\\u001b?x=1&keyspace=k&keys_of=3"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x://me:hunter2@h/p", "x://***@h/p"),
        ("x://:hunter2@h", "x://***@h"),
        ("x://me:a%40hunter2@h", "x://***@h"),
        ("x://me:a@hunter2@h", "x://***@h"),
        ("x://me:%68unter2@h", "x://***@h"),
        ("x://hunter2@h", "x://***@h"),
        ("x://hunter2:@h", "x://***@h"),
        ("x://me:@h", "x://***@h"),
        *((f"x://h?a=1&{name}=hunter2", f"x://h?a=1&{name}=***") for name in SECRET_OPTIONS),
        ("x://h?of=y%3A%2F%2Fme%3Ahunter2%40h%2F0", "x://h?of=y://***@h/0"),
        ("x://h?of=y%3A%2F%2Fh%3Fpassword%3Dhunter2", "x://h?of=y://h?password=***"),
        ("x://h?of=y%3Ame%3Ahunter2%40h", "x://h?of=***"),
        ("x://h?of=y%3A%2F%2Fme%3Ahunt%2Fer2%40h%23", "x://h?of=***"),
    ],
)
def test_no_secret_is_in_str_or_repr(text: str, shown: str) -> None:
    uri = Uri.parse(text)
    assert str(uri) == shown
    assert SECRET not in repr(uri) + repr({"uri": uri}) + f"{uri}"


@pytest.mark.parametrize(
    "name", ["pasword", "paswd", "psasword", "Secert", "scret", "tokne", "credntials", "db_pasword"]
)
def test_a_misspelt_secret_is_hidden_too(name: str) -> None:
    uri = Uri.parse(f"x://h?{name}={SECRET}")
    assert str(uri) == f"x://h?{name}=***"
    assert uri.secrets() == {SECRET}


@pytest.mark.parametrize(
    "name", ["secure", "security", "timeout", "cache_mib", "tls_ca", "prefix", "store", "region", "insecure"]
)
def test_what_is_no_secret_is_shown(name: str) -> None:
    assert str(Uri.parse(f"x://h?{name}=value")) == f"x://h?{name}=value"


def test_the_wrong_value_of_an_option_that_is_a_uri_is_in_the_error_without_its_password() -> None:
    @dataclass
    class Options:
        number: int = 0

    with pytest.raises(InvalidOption, match="not a whole number") as raised:
        read_options(Options, Uri.parse("x://h", {"number": f"y://me:{SECRET}@h"}))
    assert SECRET not in str(raised.value)
    assert "y://***@h" in str(raised.value)


@dataclass
class Secrets:
    password: int = 0
    token: bool = False
    api_key: Literal["a"] = "a"
    quiet: int = field(default=0, repr=False)


@pytest.mark.parametrize("name", ["password", "token", "api_key", "quiet"])
def test_the_wrong_value_of_a_secret_option_is_not_in_the_error(name: str) -> None:
    with pytest.raises(InvalidOption, match=rf"option {name}=\*\*\* is no") as raised:
        read_options(Secrets, Uri.parse(f"x://h?{name}={SECRET}"))
    assert SECRET not in str(raised.value)
    with pytest.raises(InvalidOption) as raised:
        Uri.parse(f"x://h?{name}={SECRET}", {name: SECRET + "3"})
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["x://u:hunter2@h/%ff", "x://u:hunter2@h#", "x://u:hunter2@h\n", "x://u:hunter2@[h", "x://h?a=1&hunter2"]
)
def test_a_uri_that_cannot_be_read_is_not_in_the_error_nor_in_its_causes(text: str) -> None:
    with pytest.raises(InvalidUri) as raised:
        Uri.parse(text)
    error: BaseException | None = raised.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__


ODD = st.text("/?#@:%&=+;,[]\\\"' \n\t\x1b\u202e\ud800aé1.", max_size=4)
PIECE = (
    ODD | ODD.map(lambda text: quote(text, safe="", errors="surrogatepass")) | st.sampled_from(["//", "x://", "%40"])
)


@settings(deadline=None, derandomize=True, database=None, max_examples=500)
@given(
    before=PIECE,
    after=PIECE,
    user=PIECE | st.none(),
    hosts=st.sampled_from(["h", "h:1", "a:1,b:2", "[::1]:1", "127.0.0.1:6379", ""]),
    rest=st.sampled_from(["", "/", "/0", "/0?whole=1", "?whole=x", "/?nosuch=1", "?whole=y://me:hunter2%40h"]),
    secret=st.sampled_from([SECRET, "%68unter2", "hun%74er2", "hunter%32"]),
)
def test_no_secret_in_user_and_password_is_shown_however_it_is_encoded(
    before: str, after: str, user: str | None, hosts: str, rest: str, secret: str
) -> None:
    password = f"{before}{secret}{after}"
    text = f"x://{password if user is None else f'{user}:{password}'}@{hosts}{rest}"
    texts = []
    try:
        uri = Uri.parse(text)
        texts += [str(uri), repr(uri), f"{uri}"]
        texts += [str(Uri.parse("x://h", {"of": text})), str(Uri.parse(f"x://h?of={quote(text, errors='replace')}"))]
        read_options(Options, uri)
    except (InvalidUri, InvalidOption) as error:
        texts += everything_of(error)
    assert not [shown for shown in texts if SECRET in unquote(shown)]


def everything_of(error: BaseException | None) -> list[str]:
    """The texts of an error, and of all that lead to it, also where a traceback would not show them."""
    return [] if error is None else [str(error), repr(error), *map(repr, error.args), *everything_of(error.__context__)]
