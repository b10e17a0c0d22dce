"""What pools with isolated workers do before the interpreter joins its threads.

Touches nothing. The place among all that is done then is that of the import of a pool's class, whose `WorkerPool` is
only imported with the first one that is made; that may be when the interpreter ends already.
"""

from __future__ import annotations

import threading

from corefutures._foreign_code import for_each

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    from collections.abc import Callable

#: What is done; entries are only added, each by the import of a module.
steps: list[Callable[[], None]] = []


def _take_steps() -> None:
    for_each(lambda step: step(), steps)


threading._register_atexit(_take_steps)  # type: ignore[attr-defined]
