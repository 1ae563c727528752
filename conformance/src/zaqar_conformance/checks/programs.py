"""Random programs, on the backend and on the model at once."""

from __future__ import annotations

from zaqar_conformance.check import check
from zaqar_conformance.env import Env
from zaqar_conformance.programs import draw
from zaqar_conformance.programs.search import Search

SECONDS = 3.0
"""How long each check searches."""


@check("MSG-031", thorough=True)
def random_programs_on_messages_agree_with_the_model(env: Env) -> None:
    """Random programs of several clients on messages and claims, as time passes, answer as the model does."""
    kinds = [draw.on_messages(env.storage.capabilities, timed=timed) for timed in (False, True)]
    tidy = [f"{client}.queues.delete({queue})" for client in ("one", "other") for queue in "xy"]
    Search(env, kinds, names="xy", tidy=tidy).run("MSG-031", seconds=SECONDS)


@check("QUE-012", thorough=True)
def random_programs_on_records_agree_with_the_model(env: Env) -> None:
    """Random programs of several clients on queues, pools, flavors, catalogue and subscriptions answer as the model."""
    kinds = [draw.on_records(env.storage.capabilities, timed=timed) for timed in (False, True)]
    tidy = [
        *(f"{client}.catalogue.delete({queue})" for client in ("one", "other") for queue in "xy"),
        *(f"{client}.queues.delete({queue})" for client in ("one", "other") for queue in "xy"),
        *(f"one.flavors.delete({flavor})" for flavor in "fg"),
        *(f"one.pools.delete({pool})" for pool in "pq"),
    ]
    Search(env, kinds, names="xypqfg", tidy=tidy).run("QUE-012", seconds=SECONDS)
