"""The steps of a program on the control plane: queues, pools, flavors, the catalogue, subscriptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zaqar_conformance.programs.steps import Sofar, Source, Step

QUEUE_METHODS: Final = (
    "create",
    "create",
    "get_metadata",
    "get_metadata",
    "set_metadata",
    "exists",
    "list",
    "stats",
    "delete",
)
POOL_METHODS: Final = ("create", "create", "get", "exists", "update", "delete", "list", "get_pools_by_flavor")
FLAVOR_METHODS: Final = ("create", "create", "get", "exists", "update", "delete", "list")
CATALOGUE_METHODS: Final = ("insert", "insert", "get", "exists", "update", "delete", "list")
SUBSCRIPTION_METHODS: Final = ("create", "create", "get", "list", "update", "exists", "delete", "confirm", "find")


@dataclass(frozen=True)
class OfQueue(Step):
    """A method of ``queues``."""

    client: str
    queue: str
    what: str
    number: int

    def source(self, sofar: Sofar) -> Source:
        call = f"{self.client}.queues.{self.what}"
        metadata = f'{{"n": {self.number}}}' if self.number % 2 else '{"_flavor": "gold"}'
        match self.what:
            case "create" | "set_metadata":
                return _seen(f"{call}({self.queue}, {metadata})")
            case "list":
                return _seen(
                    f"{call}(limit={self.number % 3 + 1}, detailed={self.number % 2 == 0}, prefix={self.queue}[:-1])",
                    "([(e.name, e.metadata) for e in seen.items], seen.more)",
                )
            case "stats":
                return _seen(f"{call}({self.queue})", "seen.total")
            case _:
                return _seen(f"{call}({self.queue})")


@dataclass(frozen=True)
class OfPool(Step):
    """A method of ``pools``. Pools of two kinds, which have not the same capabilities."""

    client: str
    pool: str
    what: str
    flavor: str | None
    number: int

    def source(self, sofar: Sofar) -> Source:
        call = f"{self.client}.pools.{self.what}"
        uri = '"memory://pool?without=POP"' if self.number % 3 == 0 else '"memory://pool"'
        match self.what:
            case "create":
                flavor = f", flavor={self.flavor}" if self.flavor else ""
                return _seen(f"{call}({self.pool}, uri={uri}, weight={self.number}{flavor})")
            case "update":
                change = f"uri={uri}" if self.number % 2 else f"flavor={self.flavor or chr(34) * 2}"
                return _seen(f"{call}({self.pool}, {change})")
            case "get":
                return _seen(f"{call}({self.pool})", "(seen.weight, seen.uri, seen.flavor)")
            case "list":
                return _seen(f"{call}(limit=1000)", f"[e.name for e in seen.items if e.name in {POOLS}]")
            case "get_pools_by_flavor":
                return _seen(f"{call}({self.flavor or 'f'})", "sorted(e.name for e in seen)")
            case _:
                return _seen(f"{call}({self.pool})")


@dataclass(frozen=True)
class OfFlavor(Step):
    """A method of ``flavors``."""

    client: str
    flavor: str
    what: str
    pools: list[str]

    def source(self, sofar: Sofar) -> Source:
        call = f"{self.client}.flavors.{self.what}"
        match self.what:
            case "create" | "update":
                return _seen(f"{call}({self.flavor}, pools=[{', '.join(self.pools)}])")
            case "get":
                return _seen(f"{call}({self.flavor})", "(sorted(seen.pools), sorted(seen.capabilities))")
            case "list":
                return _seen(f"{call}(limit=1000)", f"[e.name for e in seen.items if e.name in {FLAVORS}]")
            case _:
                return _seen(f"{call}({self.flavor})")


@dataclass(frozen=True)
class OfCatalogue(Step):
    """A method of ``catalogue``."""

    client: str
    queue: str
    what: str
    pool: str

    def source(self, sofar: Sofar) -> Source:
        call = f"{self.client}.catalogue.{self.what}"
        match self.what:
            case "insert" | "update":
                return _seen(f"{call}({self.queue}, {self.pool})")
            case "get":
                return _seen(f"{call}({self.queue})", "seen.pool")
            case "list":
                return _seen(f"{call}(limit=1000)", f"[(e.queue, e.pool) for e in seen.items if e.queue in {QUEUES}]")
            case _:
                return _seen(f"{call}({self.queue})")


@dataclass(frozen=True)
class OfSubscription(Step):
    """A method of ``subscriptions``."""

    client: str
    queue: str
    what: str
    subscriber: int
    number: int
    ttl: int | None

    def source(self, sofar: Sofar) -> Source | None:
        call = f"{self.client}.subscriptions.{self.what}"
        subscriber = f'"https://{self.subscriber}.example"'
        if self.what == "create":
            ttl = "" if self.ttl is None else f", ttl={sofar.lasting(self.ttl)}"
            made = f"{call}({self.queue}, subscriber={subscriber}{ttl})"
            return Source(f"subscriptions.append({made} or 'none')", "subscriptions[-1] == 'none'")
        if self.what == "list":
            return _seen(f"{call}({self.queue})", "sorted(e.subscriber for e in seen.items)")
        if self.what == "find":
            found = f"{self.client}.subscriptions.get_with_subscriber({self.queue}, {subscriber})"
            return _seen(found, "(subscriptions.index(seen.id), seen.options, seen.confirmed)")
        known = sofar.one_of("subscriptions", self.number)
        match self.what:
            case _ if known is None:
                return None
            case "get":
                return _seen(f"{call}({self.queue}, {known})", "(seen.subscriber, seen.options, seen.confirmed)")
            case "update":
                return _seen(f'{call}({self.queue}, {known}, options={{"n": {self.number}}})')
            case "confirm":
                return _seen(f"{call}({self.queue}, {known}, confirmed={self.number % 2 == 0})")
            case _:
                return _seen(f"{call}({self.queue}, {known})")


QUEUES: Final = "(x, y)"
POOLS: Final = "(p, q)"
FLAVORS: Final = "(f, g)"


def _seen(call: str, see: str = "seen") -> Source:
    return Source(f"seen = {call}", see)
