"""``python -m zaqar_core``: the command ``zaqar``."""

import sys

from zaqar_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
