"""A suite with a case for each thing that the runner must notice; `test_runner.py` says what."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import unittest
from concurrent import futures
from concurrent.futures.thread import ThreadPoolExecutor

USES_POOL = "from concurrent.futures import ThreadPoolExecutor as Pool; print(Pool(1).submit(pow, 2, 3).result())"
NEVER = threading.Event()


def run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout


class Planted(unittest.TestCase):
    executor_type = futures.ThreadPoolExecutor

    def use_pool(self) -> None:
        with self.executor_type(1) as pool:
            assert pool.submit(pow, 2, 3).result() == 8

    def test_sound(self) -> None:
        assert ThreadPoolExecutor is futures.ThreadPoolExecutor
        self.use_pool()

    def test_sound_with_script(self) -> None:
        self.use_pool()
        assert run("-c", USES_POOL) == "8\n"

    def test_uses_the_standard_pool(self) -> None:
        self.use_pool()
        standard = next(base for base in self.executor_type.__mro__ if base.__module__ == "concurrent.futures.thread")
        with standard(1) as pool:
            assert pool.submit(pow, 2, 3).result() == 8

    def test_uses_no_pool(self) -> None:
        pass

    def test_script_uses_no_pool(self) -> None:
        self.use_pool()
        run("-c", "pass")

    def test_script_is_out_of_reach(self) -> None:
        self.use_pool()
        assert run("-I", "-c", USES_POOL) == "8\n"

    def test_fails(self) -> None:
        self.use_pool()
        self.fail("as planted")

    def test_fails_in_subtest(self) -> None:
        self.use_pool()
        with self.subTest():
            self.fail("as planted")

    @unittest.expectedFailure
    def test_passes_unexpectedly(self) -> None:
        self.use_pool()

    def test_is_skipped(self) -> None:
        self.skipTest("as planted")

    def test_leaves_a_thread(self) -> None:
        from test.support import threading_helper

        self.use_pool()
        before = threading_helper.threading_setup()
        left = threading.Thread(target=NEVER.wait, daemon=True)
        left.start()
        threading_helper.threading_cleanup(*before)


class PlantedHang(unittest.TestCase):
    executor_type = futures.ThreadPoolExecutor

    def test_hangs(self) -> None:
        NEVER.wait()

    def test_after_the_hang(self) -> None:
        with self.executor_type(1) as pool:
            pool.submit(print)


class PlantedCrash(unittest.TestCase):
    executor_type = futures.ThreadPoolExecutor

    def test_crashes(self) -> None:
        os._exit(3)


class PlantedSetUp(unittest.TestCase):
    executor_type = futures.ThreadPoolExecutor

    @classmethod
    def tearDownClass(cls) -> None:
        raise RuntimeError("as planted")

    def test_sound(self) -> None:
        with self.executor_type(1) as pool:
            pool.submit(print)
