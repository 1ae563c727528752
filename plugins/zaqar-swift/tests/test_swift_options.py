"""What a URI says: where to log in, and how; and what is wrong with one that says it badly."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from zaqar_core.errors import InvalidOption, InvalidUri
from zaqar_core.uri import Uri
from zaqar_swift.options import Login, login_of, options_of


def login(text: str) -> Login | None:
    uri = Uri.parse(text)
    return login_of(uri, options_of(uri))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "swift://acme%3Aworker:s%2Fcret@swift.example.com/auth/v1.0",
            Login("v1", "https://swift.example.com/auth/v1.0", "acme:worker", "s/cret"),
        ),
        ("swift+http://u:p@[::1]:8080/auth/v1.0", Login("v1", "http://[::1]:8080/auth/v1.0", "u", "p")),
        (
            "swift://u:p@keystone:5000/identity/v3?project=acme",
            Login("v3", "https://keystone:5000/identity/v3", "u", "p"),
        ),
        (
            "swift://id:secret@keystone/v3?auth=application_credential",
            Login("application_credential", "https://keystone/v3", "id", "secret"),
        ),
        ("swift:///?cloud=production", None),
        ("swift://", None),
    ],
)
def test_uris_say_how_to_log_in(text: str, expected: Login | None) -> None:
    assert login(text) == expected


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("swift://u:p@host/", InvalidUri, "auth=v1, v3"),
        ("swift://host/auth/v1.0", InvalidUri, "no user"),
        ("swift://u@host/auth/v1.0", InvalidUri, "no password"),
        ("swift+http:///", InvalidUri, "swift:///"),
        ("swift:///path", InvalidUri, "cloud=NAME"),
        ("swift://u:p@one,two/auth/v1.0", InvalidUri, "expected a host and port"),
        ("swift://u:p@host/v3", InvalidOption, "project=NAME"),
        ("swift://u:p@host/auth/v1.0?cloud=x", InvalidOption, "without a host"),
        ("swift://u:p@host/auth/v1.0?region=here", InvalidOption, "for Keystone.*leave them out"),
        ("swift://u:p@host/auth/v1.0?interface=internal", InvalidOption, "for Keystone.*leave them out"),
        ("swift:///?prefix=a/b", InvalidOption, "letters, digits"),
        ("swift:///?containers=0", InvalidOption, "1 to 1024"),
        ("swift:///?connections=x", InvalidOption, "whole number"),
        ("swift:///?interface=private", InvalidOption, "public, internal, admin"),
        ("swift:///?tls_ca=/no/such/file", InvalidOption, "PEM file"),
        ("swift:///?tls_ca=%00", InvalidOption, "PEM file"),
        ("swift:///?conections=1", InvalidOption, "'connections'"),
    ],
)
def test_wrong_uris_are_told_what_to_write(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        login(text)


def test_errors_show_no_password() -> None:
    with pytest.raises(InvalidUri) as caught:
        login("swift://user:hush@host/")
    assert "hush" not in str(caught.value)


def test_a_file_of_certificates_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    assert options_of(Uri.parse(f"swift:///?tls_ca={path}")).tls_ca == str(path)
