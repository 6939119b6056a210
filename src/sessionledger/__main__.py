"""`python -m sessionledger` is the command `sessionledger`."""

from __future__ import annotations

import sys

from sessionledger.cli import main

if __name__ == "__main__":
    sys.exit(main())
