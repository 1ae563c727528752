"""What reports must not show."""

from __future__ import annotations

import pytest

from zaqar_conformance.hiding import Secrets


@pytest.mark.parametrize(
    "written",
    [
        "x://me:hunt%2Fer2@h",
        "x://h?token=hunt%2Fer2",
        "x://h?of=y%3A%2F%2Fme%3Ahunt%252Fer2%40h%2F0",
        "x://h?of=y%3A%2F%2Fh%3Fpassword%3Dhunt%252Fer2",
    ],
)
def test_secrets_are_hidden_however_they_are_written(written: str) -> None:
    """Those of a URI that is an option of another one too."""
    assert "er2" not in Secrets(written).hide(f"{written} hunt/er2 hunt%2Fer2")


def test_an_option_that_may_be_a_uri_written_wrongly_is_hidden_as_a_whole() -> None:
    assert "er2" not in Secrets("x://h?of=y%3Ame%3Ahunter2%40h").hide("y:me:hunter2@h")
