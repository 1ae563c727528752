"""An application: zaqar-core and zaqar-swift, and nothing of the suite; with a server if ``SWIFT_URL`` names one."""

import importlib.util
import os
import socket

import zaqar_core
from zaqar_core.errors import StorageUnavailable

assert importlib.util.find_spec("zaqar_conformance") is None
with socket.socket() as nobody:
    nobody.bind(("127.0.0.1", 0))  # and does not listen
    try:
        zaqar_core.connect(f"swift+http://user:password@127.0.0.1:{nobody.getsockname()[1]}/auth/v1.0")
    except StorageUnavailable as error:
        print("as it should:", error)
    else:
        raise AssertionError("connected to nothing")
if "SWIFT_URL" in os.environ:
    with zaqar_core.connect(os.environ["SWIFT_URL"], project="acme") as storage:
        orders = storage.queue("orders")
        orders.post({"n": 1})
        with orders.claim(limit=10) as claim:
            for message in claim:
                print("claimed", message.body)
                message.delete()
        assert orders.stats().total == 0
