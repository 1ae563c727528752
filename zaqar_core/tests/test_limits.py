"""Limits: the stricter of each bound."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest

from zaqar_core import Limits

NAMES = [bound.name for bound in fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
def test_each_bound_is_narrowed_on_its_own_and_never_widened(name: str) -> None:
    ours = Limits()
    stricter = replace(ours, **{name: getattr(ours, name) // 2})
    wider = replace(ours, **{name: getattr(ours, name) * 2})
    assert ours.narrowed_by(stricter) == stricter == stricter.narrowed_by(ours)
    assert ours.narrowed_by(wider) == ours == wider.narrowed_by(ours)


def test_each_side_may_be_the_stricter_one() -> None:
    even, odd = dict.fromkeys(NAMES[::2], 1), dict.fromkeys(NAMES[1::2], 2)
    assert asdict(Limits(**even).narrowed_by(Limits(**odd))) == even | odd


def test_a_driver_without_limits_of_its_own_changes_nothing() -> None:
    limits = Limits(max_body_bytes=5)
    assert limits.narrowed_by(None) is limits


def test_limits_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Limits().max_body_bytes = 1  # type: ignore[misc]
