"""A program under limits; `test_ways` runs it: BACKEND, and when the limit comes."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys

import corefutures
from corefutures_pools.workers.transport import supports_shared_queue

MEGABYTE = 1 << 20


def limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def double(content: bytes) -> bytes:
    return content * 2


def array(size: int) -> object:
    try:
        import numpy as np
    except ImportError:
        return bytearray(size)
    return np.ones(size // 8)


def same(thing: object) -> object:
    return thing


def user() -> int:
    return os.getuid()


def main(backend: str, when: str) -> None:
    options = {"initializer": limit, "initargs": (MEGABYTE,)} if when == "in workers" else {}
    if when == "before":
        limit(MEGABYTE)
    if when == "as nobody":
        options = {"mp_context": multiprocessing.get_context("spawn"), "max_tasks_per_child": 1}
    with corefutures.create_executor(backend, max_workers=1, **options) as executor:
        assert executor.submit(double, b"12").result(50) == b"1212"
        if when == "after":
            limit(MEGABYTE)
        if when == "as nobody":
            os.setgid(65534)
            os.setuid(65534)
            assert executor.submit(user).result(50) == 65534
            return
        content = bytes(range(256)) * (12 * 1024 * 4)
        assert executor.submit(double, content).result(50) == content * 2
        if backend == "process":
            sent = array(5 * MEGABYTE)
            back = executor.submit(same, sent).result(50)
            assert type(back) is type(sent) and bytes(back) == bytes(sent)
        if when == "in workers" and supports_shared_queue():
            with corefutures.create_executor(backend, max_workers=1, initializer=limit, initargs=(4096,)) as small:
                error = small.submit(double, content).exception(50)
                assert isinstance(error, OSError) and "ulimit -f" in str(error), error
                assert small.submit(double, b"12").result(50) == b"1212"


if __name__ == "__main__":
    main(*sys.argv[1:])
