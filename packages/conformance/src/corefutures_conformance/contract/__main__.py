"""Write CONTRACT.md and the list of the current version's rules: `python -m corefutures_conformance.contract FILE`."""

from __future__ import annotations

import sys

from corefutures_conformance.contract.document import main

if __name__ == "__main__":
    sys.exit(main())
