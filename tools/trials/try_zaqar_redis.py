"""An application: zaqar-core and zaqar-redis, and nothing of the suite; with a server if ``REDIS_URL`` names one."""

import importlib.util
import os
import socket

import zaqar_core
from zaqar_core.errors import StorageUnavailable
from zaqar_redis import scripts

assert importlib.util.find_spec("zaqar_conformance") is None
assert all(script.text for script in vars(scripts).values() if isinstance(script, scripts.Script))
with socket.socket() as nobody:
    nobody.bind(("127.0.0.1", 0))  # and does not listen
    try:
        zaqar_core.connect(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
    except StorageUnavailable as error:
        print("as it should:", error)
    else:
        raise AssertionError("connected to nothing")
if "REDIS_URL" in os.environ:
    with zaqar_core.connect(os.environ["REDIS_URL"], project="acme") as storage:
        orders = storage.queue("orders")
        orders.post({"n": 1})
        with orders.claim(limit=10) as claim:
            for message in claim:
                print("claimed", message.body)
                message.delete()
        assert orders.stats().total == 0
