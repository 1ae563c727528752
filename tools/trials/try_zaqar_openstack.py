"""Who compares: zaqar-core and zaqar-openstack, with the OpenStack Zaqar that it brings, and no server."""

import importlib.util
import socket
import warnings

warnings.simplefilter("default")  # what OpenStack Zaqar imports warns a great deal

import zaqar_core  # noqa: E402
from zaqar_core.errors import StorageUnavailable  # noqa: E402

assert importlib.util.find_spec("zaqar_conformance") is None
with socket.socket() as nobody:
    nobody.bind(("127.0.0.1", 0))  # and does not listen
    port = nobody.getsockname()[1]
    try:
        zaqar_core.connect(f"openstack+redis://127.0.0.1:{port}/0", timeout=1)
    except StorageUnavailable as error:
        print("as it should:", error)
    else:
        raise AssertionError("connected to nothing")
