"""Calls that interpreters can load, and that import an extension module there which refuses."""

from __future__ import annotations

import os
import sys


def journal(path):
    with open(path, "a") as file:
        file.write("begun\n")
    import _tracemalloc  # noqa: F401

    return os.getpid(), "_interpreters" in sys.modules


def journal_large(path, content):
    return journal(path), len(content)


def items(path):
    yield 1
    journal(path)
    yield 2
