"""A program without some of its standard streams; `test_descriptors` runs it: FILE for the report, then a backend.

"untaken" behind it: as if other threads had files open on these descriptors whenever they are to be taken.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback

import corefutures
from corefutures_pools.descriptors import standard_reserved


def work(number: int, padding: bytes) -> tuple[int, int, list[str]]:
    print("working on item", number, "." * 300, flush=True)
    logging.getLogger("test").warning("item %d", number)
    return number * 2, len(padding), low_ones()


def low_ones() -> list[str]:
    """Returns what stays open where the program has closed it, but for the null device."""
    found = set(_low_ones())
    for _ in range(500):  # what is imported just now is open, and what stands in for these while a worker starts
        if found:
            time.sleep(0.02)
            found.intersection_update(_low_ones())
    return sorted(found)


def _low_ones() -> list[str]:
    found = []
    for number in range(3):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith(("pipe:", "socket:", "anon_inode:", "/memfd:")) and target not in GIVEN:
            found.append(f"{number}: {target}")
    return found


#: Those that this program was given.
GIVEN = os.environ.get("GIVEN", "").split()


def main(report: str, backend: str, *how: str) -> None:
    if how:
        type(standard_reserved)._take = lambda *_: None
    errors = low_ones()
    with corefutures.create_executor(backend, max_workers=2, forward_logs=True) as executor:
        futures = [executor.submit(work, n, b"x" * size) for n in range(100) for size in (10, 1_000, 100_000, 400_000)]
        for index, future in enumerate(futures):
            number, size, low = future.result(30)
            if number != index // 4 * 2 or size != (10, 1_000, 100_000, 400_000)[index % 4]:
                errors.append(f"call {index} has {number}, {size}")
            errors += low
        executor.snapshot()
        errors += low_ones()
    errors += low_ones()
    with open(report, "w", encoding="utf-8") as file:
        file.write("\n".join(sorted(set(errors))) or "right")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BaseException:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        raise
