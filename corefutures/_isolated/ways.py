"""Which of the two ways to reach workers this platform has.

Touches nothing.
"""

from __future__ import annotations

import os
import sys


def has_fast_path() -> bool:
    """Returns whether this platform has what `TicketPool` needs; COREFUTURES_PORTABLE=1 denies it."""
    if os.environ.get("COREFUTURES_PORTABLE") == "1" or not sys.platform.startswith("linux"):
        return False
    needed = (hasattr(os, "memfd_create"), hasattr(os, "eventfd"), os.path.exists("/proc/self/fd"))
    return all(needed)
