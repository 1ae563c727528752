"""zaqar-core alone: it is all there, and says what to install for a backend."""

import zaqar_core
from zaqar_core import errors

assert all(hasattr(zaqar_core, name) for name in zaqar_core.__all__)
try:
    zaqar_core.connect("sqlite:///queues.db")
except errors.UnknownScheme as error:
    assert "pip install zaqar-sqlite" in str(error)
else:
    raise AssertionError("a backend that is not installed was found")
