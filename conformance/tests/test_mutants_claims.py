"""Each mutant of some modules is caught by a check that names what it breaks; see ``conftest.trial``."""

from __future__ import annotations

from zaqar_conformance.mutants.trial import Trial

THEMES = ("claims", "last_tries")


def test_is_caught(trial: Trial) -> None:
    assert trial.right, trial
