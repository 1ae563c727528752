"""``connect()`` and the ``Storage`` that it opens: the whole contract behind validation, defaults and encoding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from difflib import get_close_matches
from inspect import Parameter, signature
from types import TracebackType
from typing import Self

from zaqar_core import observers, opening, validation
from zaqar_core.capabilities import Capability
from zaqar_core.catalogue import Catalogue
from zaqar_core.claims import Claims
from zaqar_core.codecs import Codec, Codecs
from zaqar_core.context import Context
from zaqar_core.contract import Driver, new_id
from zaqar_core.errors import InvalidOption, InvalidUri, StorageError, Unsupported
from zaqar_core.flavors import Flavors
from zaqar_core.handle import Queue
from zaqar_core.kit.deadline import time_limit
from zaqar_core.limits import Limits
from zaqar_core.messages import Messages
from zaqar_core.metadata import MetadataCache
from zaqar_core.observers import observed
from zaqar_core.pools import Pools
from zaqar_core.posted import PostedQueues
from zaqar_core.queues import Queues
from zaqar_core.records import QueueRecords
from zaqar_core.registry import load_driver
from zaqar_core.subscriptions import Subscriptions
from zaqar_core.uri import Uri

_LONGEST_TIMEOUT = 3600.0
_CONTROL_CAPABILITIES = frozenset({Capability.ATOMIC_RECORDS})


def connect(
    uri: str,
    *,
    control: str | None = None,
    project: str = "",
    client_id: str | None = None,
    connect_timeout: float = 5,
    timeout: float = 10,
    limits: Limits | None = None,
    codecs: Iterable[Codec | str] = (),
    metadata_ttl: float = 5,
    **options: object,
) -> Storage:
    """Open the backend at ``uri`` and check at once that it works.

    ``control``: another URI for the control plane (queues and their metadata, pools, flavors, the catalogue);
    None: the same backend.
    ``project``: the tenant; ``client_id``: who posts (random unless given); every call may override both.
    ``connect_timeout``, ``timeout``: seconds in which this call ends, and each later method of the ``Storage``,
    however many calls to the datastore it needs.
    ``limits``: how large and long things may be. ``codecs``: what changes bodies, by name or object, in order.
    ``metadata_ttl``: for how many seconds queue metadata may be remembered; 0: not at all.
    ``options``: the driver's options, as if they stood in ``uri``.

    Raises ``InvalidInput``; ``DriverError`` (there is no driver for the URI, or it is broken or unfit); ``CodecError``
    (a codec is missing, or cannot be loaded); ``StorageUnavailable``; ``IncompatibleStorage`` (what is there is not
    this project's, or damaged); ``Unsupported`` (the backend lacks the messages or the records that it has to keep).
    None of them shows a secret of a URI.
    """
    project = validation.project(project)
    client_id = new_id() if client_id is None else validation.client_id(client_id)
    connect_timeout = validation.duration(connect_timeout, "connect_timeout", 0.001, _LONGEST_TIMEOUT)
    timeout = validation.duration(timeout, "timeout", 0.001, _LONGEST_TIMEOUT)
    metadata_ttl = validation.duration(metadata_ttl, "metadata_ttl", 0.0, _LONGEST_TIMEOUT)
    limits = validation.limits(limits)
    if control is not None and not isinstance(control, str):
        raise InvalidUri(f"control is of type {type(control).__name__}; pass a URI, or None for the same backend")
    with time_limit(connect_timeout):
        observers.load()
        chain = Codecs(codecs)
        data_uri = Uri.parse(uri, options)
        control_uri = data_uri if control is None or str.__eq__(control, uri) is True else Uri.parse(control)
        data, control_driver = _open_both(data_uri, control_uri, options, connect_timeout, timeout)
        try:
            return Storage(
                data,
                control_driver,
                schemes=(data_uri.scheme, control_uri.scheme),
                project=project,
                client_id=client_id,
                limits=limits,
                codecs=chain,
                metadata_ttl=metadata_ttl,
                connect_timeout=connect_timeout,
                timeout=timeout,
            )
        except BaseException:
            _close_after_failure(control_driver, data)
            raise


def _open_both(
    data_uri: Uri, control_uri: Uri, options: Mapping[str, object], connect_timeout: float, timeout: float
) -> tuple[Driver, Driver]:
    """The drivers of both planes: the same one where both have one URI."""

    def open_driver(address: Uri) -> Driver:
        return opening.open_driver(
            load_driver(address.scheme), address, connect_timeout=connect_timeout, timeout=timeout
        )

    try:
        data = open_driver(data_uri)
    except InvalidOption as error:
        meant = _own_argument(options, error)
        if meant is None:
            raise
        raise InvalidOption(f"{error}; did you mean the connect() argument {meant}=...?") from error
    try:
        return data, data if control_uri == data_uri else open_driver(control_uri)
    except BaseException:
        _close_after_failure(data)
        raise


def _close_after_failure(*drivers: Driver) -> None:
    """Close each of them. What that raises says less than the failure, and is left out."""
    for driver in drivers:
        with suppress(Exception):
            driver.close()


class Storage:
    """An open backend (or two: data and control plane). Shared by threads; usable after ``fork``.

    Made by :func:`connect`; a context manager that closes it. ``driver`` and ``control`` are the open drivers.
    """

    messages: Messages
    """Post, read and delete messages."""
    claims: Claims
    """Lease messages, renew, release."""
    subscriptions: Subscriptions
    """Who wants to be told about a queue's messages."""
    queues: Queues
    """The registered queues and their metadata."""
    pools: Pools
    """The backends among which an installation spreads its queues."""
    flavors: Flavors
    """Kinds of pools."""
    catalogue: Catalogue
    """Which pool holds which queue."""

    def __init__(
        self,
        driver: Driver,
        control: Driver,
        *,
        schemes: tuple[str, str],
        project: str,
        client_id: str,
        limits: Limits,
        codecs: Codecs,
        metadata_ttl: float,
        connect_timeout: float,
        timeout: float,
    ) -> None:
        if driver.messages is None:
            raise Unsupported(f"{type(driver).__name__} offers no messages; use it as control='...' of another backend")
        if control is not driver and control.records is None:
            raise Unsupported(f"{type(control).__name__} keeps no records; it cannot be the control plane")
        self.driver = driver
        self.control = control
        records = QueueRecords(control.records) if control.records is not None else None
        metadata = MetadataCache(records, metadata_ttl) if records is not None else None
        self._context = Context(
            data=driver,
            control=control,
            capabilities=_capabilities(driver, control),
            limits=limits.narrowed_by(driver.limits),
            codecs=codecs,
            queues=records,
            metadata=metadata,
            posted=PostedQueues(metadata, records, driver.messages) if records is not None and metadata else None,
            scheme=schemes[0],
            control_scheme=schemes[1],
            project=project,
            client_id=client_id,
            connect_timeout=connect_timeout,
            timeout=timeout,
        )
        self.messages = Messages(self._context, driver.messages)
        self.claims = Claims(self._context, driver.claims, driver.messages)
        self.subscriptions = Subscriptions(self._context, driver.records)
        self.queues = Queues(self._context, driver.messages, self.subscriptions)
        self.pools = Pools(self._context)
        self.flavors = Flavors(self._context, self.pools)
        self.catalogue = Catalogue(self._context)

    def queue(self, name: str, *, project: str | None = None, client_id: str | None = None) -> Queue:
        """A handle on one queue."""
        self._context.key(name, project)
        self._context.client_or(client_id)
        return Queue(self.messages, self.claims, name, project=project, client_id=client_id)

    @property
    def project(self) -> str:
        """The project of calls that name none."""
        return self._context.project

    @property
    def client_id(self) -> str:
        """The client id of calls that name none."""
        return self._context.client_id

    @property
    def limits(self) -> Limits:
        """The bounds in force: those asked for, narrowed by the driver's."""
        return self._context.limits

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the backend offers and promises with the options it was opened with."""
        return self._context.capabilities

    def capabilities_for(self, queue: str, *, project: str | None = None) -> frozenset[Capability]:
        """What holds for this queue: the same as ``capabilities`` unless a driver spreads queues over backends."""
        self._context.key(queue, project)
        return self._context.capabilities

    @observed("storage.is_alive")
    def is_alive(self) -> bool:
        """Whether the datastore answers."""
        self._context.check_open()
        try:
            for driver in self._drivers:
                driver.ping()
        except StorageError:
            return False
        return True

    @observed("storage.health")
    def health(self) -> dict[str, Mapping[str, object]]:
        """Facts for an operator about each plane, without secrets. Raises ``StorageUnavailable``."""
        self._context.check_open()
        return {"data": self.driver.health(), "control": self.control.health()}

    @observed("storage.gc", count=int)
    def gc(self) -> int:
        """Reclaim what has expired; how many things that were. Never needed for right answers."""
        self._context.check_open()
        return sum(driver.gc() for driver in self._drivers)

    def close(self) -> None:
        """Let go of all connections. Every later call raises ``StorageClosed``; closing twice is closing once.

        Before that, queues that were posted to in the last ``metadata_ttl`` seconds and that another client has deleted
        meanwhile are registered again, if they have messages. That takes a fourth of ``timeout`` at most.
        """
        context = self._context
        with time_limit(context.timeout), ExitStack() as each:  # also when closing the other fails
            for driver in self._drivers:
                each.callback(driver.close)
            try:
                if context.posted is not None and not context.closed:
                    context.posted.look_at_all(context.timeout)
            finally:
                context.closed = True

    @property
    def _drivers(self) -> tuple[Driver, ...]:
        return (self.driver,) if self.control is self.driver else (self.driver, self.control)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._context.closed else "open"
        return f"<Storage {type(self.driver).__name__} project={self.project!r} {state}>"


def _own_argument(options: Iterable[str], error: InvalidOption) -> str | None:
    """The argument of ``connect`` that the option which a driver does not know is like, if there is one."""
    own = [each.name for each in signature(connect).parameters.values() if each.kind is Parameter.KEYWORD_ONLY]
    unknown = next((name for name in options if repr(name) in str(error)), "")
    return next(iter(get_close_matches(unknown, own, n=1)), None)


def _capabilities(data: Driver, control: Driver) -> frozenset[Capability]:
    """The data plane's, but what is promised of records is the control plane's."""
    return (data.capabilities - _CONTROL_CAPABILITIES) | (control.capabilities & _CONTROL_CAPABILITIES)
