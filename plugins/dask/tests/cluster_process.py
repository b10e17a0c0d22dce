"""A scheduler or worker of a test: `cluster_process.py LACKS MODULE OPTION...`; ends when its standard input does.

LACKS names a module that it can't import.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading


def end_with_the_tests() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_tests, daemon=True).start()
    sys.modules[sys.argv[1]] = None  # type: ignore[assignment]
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
