"""Which steps a program may be made of, for a backend of these capabilities."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from zaqar_conformance.programs import control, steps
from zaqar_core.capabilities import Capability

_CLIENT: Final = st.sampled_from(["one", "one", "one", "two", "two", "other"])
_NUMBER: Final = st.integers(0, 3) | st.integers(0, 40)
_NUMBERS: Final = st.lists(_NUMBER, min_size=1, max_size=3).map(tuple)
_LIMIT: Final = st.integers(1, 4)
_NEVER: Final = st.none()


def on_messages(declared: frozenset[Capability], *, timed: bool) -> st.SearchStrategy[steps.Step]:
    """Steps on messages and claims in the queues ``x`` and ``y``. ``timed``: what ends while the program runs, too."""
    queue = st.sampled_from(["x", "x", "x", "x", "y"])
    soon = _NEVER | st.integers(0, 2) if timed else _NEVER
    delay = _NEVER | soon if Capability.DELAY in declared else _NEVER
    dedup = _NEVER | st.sampled_from(["a", "b"]) if Capability.IDEMPOTENT_POST in declared else _NEVER
    after = _NEVER | _NUMBER if Capability.STRICT_MARKERS in declared else _NEVER
    delayed = st.booleans() if Capability.DELAY in declared else st.just(False)
    looks = ["get", "first", *(["stats"] if Capability.EXACT_STATS in declared else [])]
    removals = ["delete", "bulk_delete", *(["pop"] if Capability.POP in declared else [])]
    claim: st.SearchStrategy[int | None] = _NEVER
    if Capability.CLAIMS in declared:
        claim |= _NUMBER
    post = st.builds(steps.Post, _CLIENT, queue, st.integers(1, 3), soon, delay, dedup)
    page = st.builds(steps.List, _CLIENT, queue, _LIMIT, after, st.booleans(), st.booleans(), delayed)
    chosen: list[st.SearchStrategy[steps.Step]] = [
        post,
        post,
        page,
        page,
        st.builds(steps.Remove, _CLIENT, queue, st.sampled_from(removals), _NUMBERS, claim),
        st.builds(steps.Look, _CLIENT, queue, st.sampled_from(looks), _NUMBER),
    ]
    if Capability.CLAIMS in declared:
        what = st.sampled_from(["get", "update", "release", "release"])
        chosen += [
            st.builds(steps.Claim, _CLIENT, queue, _LIMIT, soon, st.integers(0, 2)),
            st.builds(steps.Held, _CLIENT, queue, what, _NUMBER, soon, st.just(()) | _NUMBERS, delay),
        ]
    seldom: list[st.SearchStrategy[steps.Step]] = [
        st.builds(steps.Empty, _CLIENT, queue, st.sampled_from(["gc", "purge", "delete"]), st.just(0)),
        st.builds(steps.Empty, _CLIENT, queue, st.just("configure"), st.integers(1, 3)),
    ]
    if timed:
        seldom.append(st.builds(steps.Sleep, st.just(1)))
    return st.one_of(*chosen, *chosen, *seldom)


def on_records(declared: frozenset[Capability], *, timed: bool) -> st.SearchStrategy[steps.Step]:
    """Steps on queues, pools, flavors, the catalogue and subscriptions; ``timed`` as above."""
    queue, pool, flavor = st.sampled_from("xy"), st.sampled_from("pq"), st.sampled_from("fg")
    pools, soon = st.lists(pool, max_size=3), _NEVER | st.integers(0, 2) if timed else _NEVER
    chosen = [
        st.builds(control.OfQueue, _CLIENT, queue, st.sampled_from(control.QUEUE_METHODS), _NUMBER),
        st.builds(control.OfPool, _CLIENT, pool, st.sampled_from(control.POOL_METHODS), _NEVER | flavor, _NUMBER),
        st.builds(control.OfFlavor, _CLIENT, flavor, st.sampled_from(control.FLAVOR_METHODS), pools),
        st.builds(control.OfCatalogue, _CLIENT, queue, st.sampled_from(control.CATALOGUE_METHODS), pool),
    ]
    if timed:
        chosen.append(st.builds(steps.Sleep, st.just(1)))
    if Capability.SUBSCRIPTIONS in declared:
        what = st.sampled_from(control.SUBSCRIPTION_METHODS)
        chosen.append(st.builds(control.OfSubscription, _CLIENT, queue, what, st.integers(0, 2), _NUMBER, soon))
    return st.one_of(chosen)
