"""``python -m zaqar_conformance``."""

import sys

from zaqar_conformance.cli import main

sys.exit(main())
