"""The tree of errors: one root, and what else each is."""

from __future__ import annotations

import inspect
import pickle

import pytest

from zaqar_core import ZaqarError, errors

ALL = sorted(
    (found for _, found in inspect.getmembers(errors, inspect.isclass) if found.__module__ == errors.__name__),
    key=lambda error: error.__name__,
)


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_is_of_the_one_tree_says_what_it_means_and_can_be_sent_to_another_process(
    error: type[Exception],
) -> None:
    assert issubclass(error, ZaqarError)
    assert inspect.getdoc(error)
    again = pickle.loads(pickle.dumps(error("what happened")))
    assert (type(again), str(again)) == (error, "what happened")


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_wrong_input_and_nothing_else_is_a_value_error(error: type[Exception]) -> None:
    named_so = error.__name__.startswith("Invalid") or error.__name__ == "BatchTooLarge"
    assert issubclass(error, ValueError) == issubclass(error, errors.InvalidInput) == named_so


DO_NOT_EXIST = """
    ClaimDoesNotExist FlavorDoesNotExist MessageDoesNotExist PoolDoesNotExist QueueDoesNotExist QueueIsEmpty
    QueueNotMapped SubscriptionDoesNotExist
"""


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.DoesNotExist, DO_NOT_EXIST),
        (errors.NotPermitted, "ClaimDoesNotMatch MessageIsClaimed PoolCapabilitiesMismatch PoolInUse"),
        (errors.DriverError, "AmbiguousScheme BrokenDriver ContractMismatch UnknownScheme"),
        (errors.StorageUnavailable, "OutcomeUnknown StorageFull"),
        (errors.StorageError, "IncompatibleStorage OutcomeUnknown StorageClosed StorageFull StorageUnavailable"),
    ],
)
def test_errors_that_are_handled_alike_have_a_common_class(kind: type[Exception], expected: str) -> None:
    assert [error.__name__ for error in ALL if issubclass(error, kind) and error is not kind] == expected.split()


def test_the_groups_are_apart() -> None:
    groups = (errors.InvalidInput, errors.DoesNotExist, errors.NotPermitted, errors.DriverError, errors.StorageError)
    for error in ALL:
        assert sum(issubclass(error, group) for group in groups) <= 1
