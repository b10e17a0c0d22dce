"""Chapter "resources": what is left after calls and after shutdown: threads, processes, descriptors, memory.

What is left is counted after several rounds and compared with the count after the first one, so that a
service that an executor shares between its instances is no leak; what is counted gets time to go.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from corefutures_conformance.deadlines import (
    Overdue,
    all_done,
    brief,
    done,
    error_of,
    finishes,
    limit,
    result_of,
    until,
)
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.rules import from_python, only_where, patient, requires
from corefutures_conformance.worker import calls, carrying, hostile
from corefutures_conformance.worker.gates import Gate

DESCRIPTORS = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
SHARED_MEMORY = "/dev/shm"
_STATM = "/proc/self/statm"
_LARGE_PART = 16_000_000


class Resources:
    """Rules on what must not be left."""

    # After shutdown

    def test_threads_end_at_shutdown(self, make: ExecutorFactory) -> None:
        """shutdown() MUST leave no thread of the executor. (manual: Executor.shutdown)"""
        _no_growth(lambda: _use(make), threading.active_count, "thread(s) left by executors that were shut down")

    def test_threads_end_after_shutdown_without_wait(self, make: ExecutorFactory) -> None:
        """The executor's threads MUST end after shutdown(wait=False), when the calls are done. (manual:
        Executor.shutdown)
        """
        _no_growth(
            lambda: _use(make, wait=False),
            threading.active_count,
            "thread(s) left after shutdown(wait=False)",
        )

    def test_unused_executor_leaves_no_thread(self, make: ExecutorFactory) -> None:
        """shutdown() of an executor that was never used MUST leave no thread. (manual: Executor.shutdown)"""

        def make_and_leave() -> None:
            executor = make(max_workers=2)
            finishes(executor.shutdown, "shutdown() of an executor that was never used")

        _no_growth(make_and_leave, threading.active_count, "thread(s) left by executors that were never used")

    @requires("shares_memory")
    def test_threads_that_called_end_at_shutdown(self, make: ExecutorFactory) -> None:
        """The very threads that ran calls SHOULD have ended after shutdown(). (promise E6)"""
        executor = make(max_workers=2)
        threads = {result_of(executor.submit(threading.current_thread)) for _ in range(4)}
        finishes(executor.shutdown, "shutdown()")
        _until_or_say(
            lambda: not any(thread.is_alive() for thread in threads),
            "a thread that ran calls lived on after shutdown()",
        )

    @requires(same_process=False, remote=False)
    @only_where(os.name == "posix", "asking for a process by its id without side effects needs POSIX")
    def test_processes_end_at_shutdown(self, make: ExecutorFactory, gate: Gate) -> None:
        """shutdown() SHOULD leave no process of the executor, not even an unreaped one. (promise E6)"""
        executor = make(max_workers=2)
        futures = [executor.submit(carrying.announce_pid, gate) for _ in range(2)]
        gate.await_arrivals(2)
        gate.open()
        pids = {result_of(future) for future in futures}
        finishes(executor.shutdown, "shutdown()")
        _until_or_say(lambda: not any(map(_exists, pids)), "a worker process was left after shutdown()")

    @requires(same_process=False, remote=False)
    @only_where(os.name == "posix", "asking for a process by its id without side effects needs POSIX")
    def test_processes_end_after_shutdown_without_wait(self, make: ExecutorFactory, gate: Gate) -> None:
        """Worker processes SHOULD end after shutdown(wait=False), when the calls are done. (promise E6)"""
        executor = make(max_workers=1)
        future = executor.submit(carrying.announce_pid, gate)
        gate.await_arrivals()
        finishes(lambda: executor.shutdown(wait=False), "shutdown(wait=False)")
        gate.open()
        pid = result_of(future)
        _until_or_say(lambda: not _exists(pid), "a worker process was left after shutdown(wait=False)")

    @requires(same_process=False, remote=False)
    @only_where(os.name == "posix", "asking for a process by its id without side effects needs POSIX")
    def test_processes_end_after_a_loss(self, make: ExecutorFactory, gate: Gate) -> None:
        """shutdown() SHOULD leave no process, also when another worker was lost. (promise E6)"""
        executor = make(max_workers=2)
        futures = [executor.submit(carrying.announce_pid, gate) for _ in range(2)]
        gate.await_arrivals(2)
        pids = [int(who) for who in gate.arrived]
        gate.open()
        all_done(futures)
        done(executor.submit(calls.kill_process), "the future of a call whose worker was killed")
        finishes(executor.shutdown, "shutdown() after a loss")
        _until_or_say(lambda: not any(map(_exists, pids)), "a worker process was left after a loss and shutdown()")

    @requires(same_process=False)
    def test_threads_end_after_a_loss(self, make: ExecutorFactory) -> None:
        """shutdown() MUST leave no thread, also when a worker was lost. (manual: Executor.shutdown)"""

        def lose() -> None:
            executor = make(max_workers=1)
            done(executor.submit(calls.kill_process), "the future of a call whose worker was killed")
            finishes(executor.shutdown, "shutdown() after a loss")

        _no_growth(lose, threading.active_count, "thread(s) left by executors that lost a worker")

    @only_where(os.path.isdir(DESCRIPTORS), "counting open descriptors needs /proc or /dev/fd")
    def test_descriptors_are_closed_at_shutdown(self, make: ExecutorFactory) -> None:
        """shutdown() MUST leave no open descriptor. (manual: Executor.shutdown)"""
        _no_growth(lambda: _use(make), _descriptors, "descriptor(s) left open by executors that were shut down")

    @requires(same_process=False)
    @only_where(os.path.isdir(DESCRIPTORS), "counting open descriptors needs /proc or /dev/fd")
    def test_descriptors_are_closed_after_a_loss(self, make: ExecutorFactory) -> None:
        """shutdown() MUST leave no open descriptor, also when a worker was lost. (manual:
        Executor.shutdown)
        """

        def lose() -> None:
            executor = make(max_workers=1)
            done(executor.submit(calls.kill_process), "the future of a call whose worker was killed")
            finishes(executor.shutdown, "shutdown() after a loss")

        _no_growth(lose, _descriptors, "descriptor(s) left open by executors that lost a worker")

    @requires(same_process=False)
    @only_where(os.path.isdir(SHARED_MEMORY), "looking for shared memory needs /dev/shm")
    def test_shared_memory_is_freed(self, make: ExecutorFactory) -> None:
        """No shared memory SHOULD be left of arguments and results. (promise E6)"""
        size = 3_141_593
        before = _files_of_size(size)
        executor = make(max_workers=1)
        for _ in range(3):
            result_of(executor.submit(calls.echo, carrying.payload(size)))
        finishes(executor.shutdown, "shutdown()")
        gc.collect()
        left = _files_of_size(size) - before
        assert len(left) < 3, f"shared memory was left: {brief(sorted(left))}"

    @requires(same_process=False)
    @only_where(os.path.isdir(SHARED_MEMORY), "looking for named semaphores needs /dev/shm")
    def test_named_semaphores_are_freed(self, make: ExecutorFactory) -> None:
        """shutdown() SHOULD leave no named semaphore. (promise E6)"""
        others = _named_semaphores()
        _no_growth(
            lambda: _use(make),
            lambda: len(_new_semaphores(others)),
            "named semaphore(s) left by executors that were shut down",
        )

    @requires("same_process")
    @from_python(3, 14)
    def test_interpreters_end_at_shutdown(self, make: ExecutorFactory) -> None:
        """shutdown() SHOULD leave no interpreter of the executor. (promise E6)"""
        _no_growth(lambda: _use(make), _interpreters, "interpreter(s) left by executors that were shut down")

    def test_executor_is_freed_after_shutdown(self, make: ExecutorFactory) -> None:
        """An executor that was shut down SHOULD be freed when nobody refers to it. (promise E6)"""
        executor = make.untracked(max_workers=1)
        result_of(executor.submit(calls.nothing))
        finishes(executor.shutdown, "shutdown()")
        reference = weakref.ref(executor)
        del executor
        _until_or_say(lambda: _is_gone(reference), "an executor was still referred to after shutdown()")

    def test_done_future_does_not_keep_its_executor(self, make: ExecutorFactory) -> None:
        """An executor that was shut down SHOULD be freed while somebody refers to a future of it that is done.
        (promise F6)
        """
        executor = make.untracked(max_workers=1)
        future = executor.submit(calls.nothing)
        result_of(future)
        finishes(executor.shutdown, "shutdown()")
        reference = weakref.ref(executor)
        del executor
        try:
            until(lambda: _is_gone(reference), "", limit() / 4)
        except Overdue:  # if it stays without the future as well, somebody else keeps it
            del future
            assert not _is_gone(reference), "a future that was done still referred to its executor"

    # While calls come and go

    def test_threads_do_not_grow_with_calls(self, make: ExecutorFactory) -> None:
        """The number of threads SHOULD not grow with the number of calls. (promise E6)"""
        executor = make(max_workers=2)

        def call() -> None:
            for _ in range(20):
                result_of(executor.submit(calls.nothing))

        call()
        _no_growth(call, threading.active_count, "thread(s) more", rounds=3)

    @requires("shares_memory")
    def test_never_more_threads_than_workers_call(self, make: ExecutorFactory) -> None:
        """At most max_workers threads SHOULD be alive of those that run calls. (promise E2)"""
        executor = make(max_workers=2)
        threads = [executor.submit(threading.current_thread) for _ in range(40)]
        found = {result_of(future) for future in threads}
        _until_or_say(
            lambda: sum(thread.is_alive() for thread in found) <= 2,
            "more than max_workers threads that ran calls lived on",
        )

    @requires(same_process=False, remote=False)
    @only_where(os.name == "posix", "asking for a process by its id without side effects needs POSIX")
    def test_never_more_processes_than_workers(self, make: ExecutorFactory) -> None:
        """At most max_workers processes SHOULD be alive of those that run calls. (promise E2)"""
        executor = make(max_workers=2)
        pids = {result_of(future)[0] for future in [executor.submit(calls.place) for _ in range(20)]}
        _until_or_say(lambda: sum(map(_exists, pids)) <= 2, "more than max_workers processes that ran calls lived on")

    @only_where(os.path.isdir(DESCRIPTORS), "counting open descriptors needs /proc or /dev/fd")
    def test_descriptors_do_not_grow_with_calls(self, make: ExecutorFactory) -> None:
        """The number of open descriptors SHOULD not grow with the number of calls. (promise E6)"""
        executor = make(max_workers=1)

        def call() -> None:
            for _ in range(10):
                result_of(executor.submit(calls.echo, b"small"))
                result_of(executor.submit(carrying.summary, carrying.payload(2_000_000)))

        call()
        _no_growth(call, _descriptors, "descriptor(s) more")

    @only_where(sys.implementation.name == "cpython", "counting memory blocks needs CPython")
    @patient(4)
    def test_memory_does_not_grow_with_calls(self, executor: Executor) -> None:
        """The memory in use SHOULD not grow with the number of calls. (promise F6)"""
        _no_leak(lambda: result_of(executor.submit(calls.echo, [1])))

    @only_where(sys.implementation.name == "cpython", "counting memory blocks needs CPython")
    @patient(4)
    def test_memory_does_not_grow_with_failing_calls(self, executor: Executor) -> None:
        """The memory in use SHOULD not grow with the number of failing calls. (promise F6)"""
        _no_leak(lambda: error_of(executor.submit(calls.raise_new, ValueError, "no")))

    @only_where(sys.implementation.name == "cpython", "counting memory blocks needs CPython")
    @patient(4)
    def test_memory_does_not_grow_with_cancelled_calls(self, executor: Executor, gate: Gate) -> None:
        """The memory in use SHOULD not grow with the number of cancelled calls, once the queue is empty.
        (promise F6)
        """

        def cancel() -> None:
            futures = [executor.submit(calls.echo, [1]) for _ in range(4)]
            for future in reversed(futures):
                future.cancel()
            all_done(futures)
            result_of(executor.submit(calls.nothing))

        _no_leak(cancel, rounds=150, most=2)

    # Objects

    @requires(remote=False)
    def test_arguments_are_released(self, executor: Executor) -> None:
        """A finished call's arguments SHOULD not be kept, not even by its future. (promise F6)"""
        value = carrying.Tracked()
        future = executor.submit(carrying.take, value)
        result_of(future)
        reference = weakref.ref(value)
        del value
        _until_or_say(lambda: _is_gone(reference), "a finished call's argument was still referred to")
        assert future.done(), "a finished future was no longer done"

    def test_callable_is_released(self, executor: Executor) -> None:
        """A finished call's callable SHOULD not be kept, not even by its future. (promise F6)"""
        value = carrying.Tracked()
        future = executor.submit(value.method)
        result_of(future)
        reference = weakref.ref(value)
        del value
        _until_or_say(lambda: _is_gone(reference), "a finished call's callable was still referred to")
        assert future.done(), "a finished future was no longer done"

    def test_arguments_of_a_failed_call_are_released(self, executor: Executor) -> None:
        """A failed call's arguments SHOULD not be kept when its exception is dropped. (promise F6)"""
        value = carrying.Tracked()
        future = executor.submit(calls.raise_new, ValueError, value)
        error_of(future)
        reference = weakref.ref(value)
        del value, future
        _until_or_say(lambda: _is_gone(reference), "a failed call's argument was still referred to")

    def test_arguments_of_a_cancelled_call_are_released(self, executor: Executor, gate: Gate) -> None:
        """A cancelled call's arguments SHOULD be dropped at once. (promise F5)"""
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        for _ in range(6):
            executor.submit(calls.nothing)
        value = carrying.Tracked()
        future = executor.submit(carrying.take, value)
        assert future.cancel() is True, "cancel() did not return True for a waiting call"
        reference = weakref.ref(value)
        del value
        _until_or_say(lambda: _is_gone(reference), "a cancelled call's argument was still referred to")
        gate.open()
        result_of(blocker)

    @requires("shares_memory")
    def test_result_is_released(self, executor: Executor) -> None:
        """A result SHOULD be freed with its future; the executor keeps none. (promise F6)"""
        future = executor.submit(carrying.make_tracked)
        reference = weakref.ref(result_of(future))
        del future
        _until_or_say(lambda: _is_gone(reference), "a result was still referred to after its future was dropped")

    @requires("shares_memory")
    def test_exception_is_released(self, executor: Executor) -> None:
        """An exception SHOULD be freed with its future; the executor keeps none. (promise F6)"""
        future = executor.submit(calls.raise_new, hostile.HostileError, "to be freed")
        reference = weakref.ref(error_of(future))
        del future
        _until_or_say(lambda: _is_gone(reference), "an exception was still referred to after its future was dropped")

    def test_raising_leaves_no_cycle(self, executor: Executor) -> None:
        """result() that raises SHOULD leave no reference cycle: future and exception are freed at once. (promise F6)"""
        collecting = gc.isenabled()
        gc.disable()
        try:
            reference = _raised_and_forgotten(executor)
            result_of(executor.submit(calls.nothing))  # the worker has turned to another call
            _until_or_say(lambda: reference() is None, "a future whose result() raised was part of a reference cycle")
        finally:
            if collecting:
                gc.enable()

    def test_future_is_released(self, executor: Executor) -> None:
        """A finished future SHOULD be freed when nobody refers to it; the executor keeps none. (promise F6)"""
        future = executor.submit(calls.echo, 1)
        result_of(future)
        reference = weakref.ref(future)
        del future
        _until_or_say(lambda: _is_gone(reference), "a finished future was still referred to")

    @requires("pickles", remote=False)
    @only_where(os.path.isdir(DESCRIPTORS), "counting descriptors needs /dev/fd")
    def test_kept_results_hold_no_descriptors(self, executor: Executor) -> None:
        """Results that are kept SHOULD hold no descriptors, however large they are. (promise E6)"""
        kept = [result_of(executor.submit(carrying.table, 40_000)) for _ in range(4)]
        before = _settled(_descriptors)
        kept += [result_of(executor.submit(carrying.table, 40_000)) for _ in range(100)]
        found = _settled(_descriptors) - before
        assert found < 50, f"100 results of 40 kB hold {found} descriptors"
        assert all(carrying.summary(bytes(each.content))[0] == 40_000 for each in kept)

    @requires("pickles", remote=False)
    @only_where(os.path.exists(_STATM), "telling how much memory is used needs /proc")
    def test_a_part_of_a_result_does_not_keep_the_whole(self, executor: Executor) -> None:
        """Who keeps a small part of a result and drops the rest SHOULD have only that in memory. (promise F6)"""
        kept = [_small_part(executor) for _ in range(2)]
        before = _memory()
        kept += [_small_part(executor) for _ in range(12)]
        try:
            until(lambda: _memory() - before < 6 * _LARGE_PART, "", limit() / 4)
        except Overdue:
            grown = (_memory() - before) // 1_000_000
            raise AssertionError(
                f"12 parts of 40 kB keep {grown} MB, of results of {_LARGE_PART // 1_000_000} MB"
            ) from None
        assert all(carrying.summary(bytes(each.content))[0] == 40_000 for each in kept)

    @requires("pickles")
    def test_worker_releases_arguments(self, executor: Executor) -> None:
        """A worker SHOULD not keep the arguments of the call before. (promise F6)"""
        before, _ = result_of(executor.submit(carrying.living))  # a forked worker inherits some
        result_of(executor.submit(carrying.take_tracked, carrying.Tracked()))
        found, _ = result_of(executor.submit(carrying.living))
        assert found == before, f"the worker kept {found - before} argument(s) of the call before"

    @requires("pickles")
    def test_worker_releases_results(self, executor: Executor) -> None:
        """A worker SHOULD not keep the result of the call before. (promise F6)"""
        before, _ = result_of(executor.submit(carrying.living))  # a forked worker inherits some
        result_of(executor.submit(carrying.make_tracked))
        found, _ = result_of(executor.submit(carrying.living))
        assert found == before, f"the worker kept {found - before} result(s) of the call before"


def _raised_and_forgotten(executor: Executor) -> weakref.ref[Future[Any]]:
    future: Future[Any] = executor.submit(calls.raise_new, hostile.HostileError, "to be freed")
    done(future)
    with contextlib.suppress(hostile.HostileError):
        future.result(timeout=0)
    reference = weakref.ref(future)
    del future  # the exception's traceback refers to this frame
    return reference


def _use(make: ExecutorFactory, *, wait: bool = True) -> None:
    executor = make(max_workers=2)
    futures = [executor.submit(calls.echo, number) for number in range(4)]
    finishes(lambda: executor.shutdown(wait=wait), "shutdown()")
    all_done(futures)


def _no_growth(act: Callable[[], object], count: Callable[[], int], what: str, rounds: int = 2) -> None:
    """Act once, count, act `rounds` times more, and see that the count comes back."""
    act()
    first = _settled(count)
    for _ in range(rounds):
        act()
    try:
        until(lambda: count() < first + rounds, "", limit() / 4)
    except Overdue:
        raise AssertionError(f"{count() - first} {what}, after {rounds} rounds") from None


def _settled(count: Callable[[], int]) -> int:
    """The count, as soon as it is the same several times in a row."""
    found: list[int] = []

    def calm() -> bool:
        found.append(count())
        return len(found) >= 8 and len(set(found[-8:])) == 1

    until(calm, "what is counted to settle")
    return found[-1]


def _no_leak(act: Callable[[], object], rounds: int = 400, most: float = 0.5, stretches: int = 4) -> None:
    """Act some times, count memory blocks, act `rounds` times more: there may be `most` more each time.

    What grows up to a limit (caches, a log of the last events) is no leak: one of several stretches must be without.
    """
    for _ in range(rounds // 4):
        act()
    grown = []
    for _ in range(stretches):
        before = _blocks()
        for _ in range(rounds):
            act()
        grown.append(_blocks() - before)
        if grown[-1] < rounds * most:
            return
    raise AssertionError(f"{grown[-1]} memory blocks more after {rounds} rounds, as in the stretches before: {grown}")


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir(DESCRIPTORS))


def _interpreters() -> int:
    interpreters: Any = importlib.import_module("concurrent.interpreters")  # since Python 3.14
    return len(interpreters.list_all())


def _files_of_size(size: int) -> set[str]:
    """Files in shared memory that hold a payload of `size` bytes, and little more."""
    found = set()
    for entry in os.scandir(SHARED_MEMORY):
        try:
            if size <= entry.stat().st_size < size + 65536:
                found.add(entry.name)
        except OSError:
            pass  # it went away meanwhile, or is another user's
    return found


def _named_semaphores() -> dict[str, int]:
    """The names of semaphores, and the number of the file of each."""
    return {entry.name: entry.inode() for entry in os.scandir(SHARED_MEMORY) if entry.name.startswith("sem.")}


def _new_semaphores(others: Collection[str]) -> list[str]:
    """The named semaphores but for `others`, and for those that programs beside this one use."""
    found = {name: inode for name, inode in _named_semaphores().items() if name not in others}
    elsewhere = _mapped_elsewhere() if found else ()
    return [name for name, inode in found.items() if inode not in elsewhere]


def _mapped_elsewhere() -> set[int]:
    """The files of semaphores that processes use which are no descendants of this one; none where there is no /proc.

    By number: the process that has made a semaphore has mapped it under another name.
    """
    parents, mapped = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, maps = (folder / "stat").read_text(), (folder / "maps").read_text()
        except OSError:  # it has ended, or is another user's
            continue
        pid = int(folder.name)
        parents[pid] = int(status.rpartition(")")[2].split()[1])
        mapped[pid] = {int(number) for number in re.findall(rf" (\d+) +{SHARED_MEMORY}/sem\.", maps)}

    def is_elsewhere(pid: int) -> bool:
        while pid and pid != os.getpid():
            pid = parents.get(pid, 0)
        return pid == 0

    return {number for pid, numbers in mapped.items() if is_elsewhere(pid) for number in numbers}


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_gone(reference: weakref.ref[Any]) -> bool:
    if reference() is None:
        return True
    gc.collect()
    return reference() is None


def _until_or_say(predicate: Callable[[], object], complaint: str) -> None:
    """Give what must go some time to go; if it stays, the rule has failed: that is no hang."""
    try:
        until(predicate, "", limit() / 4)
    except Overdue:
        raise AssertionError(complaint) from None


def _small_part(executor: Executor) -> carrying.Table:
    """The small part of a result whose large part was read and dropped."""
    small, large = result_of(executor.submit(carrying.tables, 40_000, _LARGE_PART))
    assert carrying.summary(large.content)[0] == _LARGE_PART, "a large result came back damaged"
    kept: carrying.Table = small
    return kept


def _memory() -> int:
    """Bytes of memory that this process uses, what it shares with others included."""
    if sys.platform != "linux":
        raise AssertionError("only Linux tells it like this")
    with open(_STATM) as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
