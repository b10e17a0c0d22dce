"""The journal: an account of what really ran, kept independently of the executor under test.

An append-only file, one line an entry, written with one O_APPEND write each: it shows executions that were
lost or doubled, from any thread, process or interpreter, also after the worker is gone.
"""

from __future__ import annotations

import os
import sys


class Journal:
    """An append-only account of executions; picklable.

    Thread safety: every method may be called from any thread, process and interpreter.
    """

    def __init__(self, path: str) -> None:
        """Keep the account in the file `path`, which is made on first use."""
        self._path = path

    def note(self, entry: object) -> None:
        """Append `str(entry)`, which must be one line."""
        line = f"{entry}\n".encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if sys.platform == "win32":  # O_APPEND seeks and writes in two steps there: lock a byte far beyond the end
                import msvcrt

                os.lseek(descriptor, 1 << 30, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
                try:
                    os.write(descriptor, line)
                finally:
                    os.lseek(descriptor, 1 << 30, os.SEEK_SET)
                    msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
            else:
                os.write(descriptor, line)
        finally:
            os.close(descriptor)

    @property
    def entries(self) -> list[str]:
        """Every entry so far, in the order written."""
        try:
            with open(self._path, encoding="utf-8") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []
