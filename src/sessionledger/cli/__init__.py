"""The command line. It needs the extra `cli`; without it, it says so in one line."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows `sessionledger` on the command line; by default this process's own.

    Returns:
        0 when all went well, 1 for an expected error or a finding, 2 for a wrong use.
    """
    try:
        from sessionledger.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        print("sessionledger: the command line needs its extra: pip install 'sessionledger[cli]'", file=sys.stderr)
        return 2
    return run(sys.argv[1:] if arguments is None else arguments)
