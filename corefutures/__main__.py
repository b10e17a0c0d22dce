"""`python -m corefutures`, which is the console script `corefutures` too.

Imports the command line only when run: a spawned worker may import this file as its main module.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line on the arguments of this process.

    Returns:
        The exit status.
    """
    from corefutures.cli import main  # here so that importing this file stays free

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
