"""An application: zaqar-core and one backend, and nothing of the suite."""

import importlib.util

import zaqar_core

assert importlib.util.find_spec("zaqar_conformance") is None
with zaqar_core.connect("sqlite:///queues.db", project="acme") as storage:
    orders = storage.queue("orders")
    orders.post({"n": 1})
    with orders.claim(limit=10) as claim:
        for message in claim:
            print("claimed", message.body)
            message.delete()
    assert orders.stats().total == 0
