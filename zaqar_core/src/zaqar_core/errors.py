"""The one tree of errors. A message names the value, the rule and the remedy; a cause is always chained."""

from __future__ import annotations


class ZaqarError(Exception):
    """Anything that this project raises on purpose."""


# --- The caller's input ---------------------------------------------------------------------------


class InvalidInput(ZaqarError, ValueError):
    """An argument breaks a rule. Nothing was written."""


class InvalidQueueName(InvalidInput):
    """Not a queue name: 1 to 64 characters, at most 192 UTF-8 bytes, no U+0000, no surrogates."""


class InvalidProject(InvalidInput):
    """Not a project: at most 256 characters, no U+0000, no surrogates."""


class InvalidClientId(InvalidInput):
    """Not a client id: 1 to 128 characters, no U+0000, no surrogates."""


class InvalidDuration(InvalidInput):
    """A ttl, grace, delay, wait or time-out that is no number of seconds or outside its limits."""


class InvalidLimit(InvalidInput):
    """A ``limit`` that is no whole number or outside its limits."""


class InvalidMarker(InvalidInput):
    """A marker that no page ever gave."""


class InvalidId(InvalidInput):
    """A message or claim id that is no string. (A string that names nothing is no error here.)"""


class InvalidBody(InvalidInput):
    """A body that is no JSON value, or would not come back equal."""


class InvalidHeaders(InvalidInput):
    """Headers that are no mapping of strings to strings, or over 4 KiB."""


class InvalidDedupId(InvalidInput):
    """Not a dedup id: 1 to 128 characters, no U+0000, no surrogates."""


class InvalidMetadata(InvalidInput):
    """Queue metadata that is no JSON object, too large, or with a reserved key of a wrong value."""


class InvalidPool(InvalidInput):
    """Not a pool's name, weight or options, or not a flavor's name: a name has 1 to 64 characters, as a queue's."""


class InvalidSubscription(InvalidInput):
    """Not a subscriber (a URI of at most 2048 characters) or not the options of a subscription (a JSON object)."""


class BatchTooLarge(InvalidInput):
    """A post of more messages or more bytes than the limits allow."""


class InvalidUri(InvalidInput):
    """A URI that cannot be read."""


class InvalidOption(InvalidInput):
    """An option that the driver does not know, a value it does not take, or two that disagree."""


# --- What is not there, or not in the state that was asked for -------------------------------------


class DoesNotExist(ZaqarError):
    """What was asked for is not there (or not any more)."""


class QueueDoesNotExist(DoesNotExist):
    """No queue of that name is registered in the project."""


class MessageDoesNotExist(DoesNotExist):
    """No such message in this queue: never posted, deleted, popped, purged or expired."""


class ClaimDoesNotExist(DoesNotExist):
    """No such claim on this queue: never made, released, expired, or without messages left."""


class QueueIsEmpty(DoesNotExist):
    """The queue has no message to show first."""


class PoolDoesNotExist(DoesNotExist):
    """No such pool, or it is being deleted."""


class FlavorDoesNotExist(DoesNotExist):
    """No such flavor, or it is being deleted."""


class QueueNotMapped(DoesNotExist):
    """The catalogue has no entry for this queue."""


class SubscriptionDoesNotExist(DoesNotExist):
    """No such subscription on this queue: never made, deleted or ended."""


class NotPermitted(ZaqarError):
    """The state of things forbids it. Nothing was changed."""


class MessageIsClaimed(NotPermitted):
    """The message is held by a live claim, and none was named."""


class ClaimDoesNotMatch(NotPermitted):
    """The claim lives, but does not hold this message."""


class PoolInUse(NotPermitted):
    """A catalogue entry names the pool, or it is the last one of its flavor."""


class PoolCapabilitiesMismatch(NotPermitted):
    """The pools of one flavor would not be equal in capabilities."""


class Unsupported(ZaqarError):
    """The backend does not have the capability that this needs."""


# --- Backends: found, loaded, opened ---------------------------------------------------------------


class DriverError(ZaqarError):
    """A backend cannot be used as it is installed."""


class UnknownScheme(DriverError):
    """No installed distribution offers a driver for the URI's scheme."""


class BrokenDriver(DriverError):
    """The driver is installed, but importing it failed, or opening it in an unexpected way; the cause is chained."""


class ContractMismatch(DriverError):
    """The driver was written for another version of the contract."""


class AmbiguousScheme(DriverError):
    """Two installed distributions offer a driver for one scheme."""


class CodecError(ZaqarError):
    """A codec is missing or failed, or the bytes are not JSON, so that a body cannot be written or read.

    Of what reads messages only ``Message.body`` raises it: the message itself is delivered, its bytes in ``raw``.
    """


# --- The datastore ---------------------------------------------------------------------------------


class StorageError(ZaqarError):
    """The datastore did not do what was asked."""


class StorageUnavailable(StorageError):
    """The datastore cannot be reached, or did not answer in time. Nothing happened."""


class OutcomeUnknown(StorageUnavailable):
    """The connection broke after the request was sent: the operation may have happened."""


class StorageFull(StorageUnavailable):
    """The datastore has no room left. Nothing was written."""


class IncompatibleStorage(StorageError):
    """What was found is not ours, damaged, or of a newer version. It was left untouched."""


class StorageClosed(StorageError):
    """Used after ``close()``."""
