"""E6, E11: the ends of a pool, in every order, and its remains: on a cluster of its own, and on other clusters."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask_calls
import psutil
import pytest
from dask_gates import Gate
from distributed import Client, LocalCluster, Scheduler
from signals import everywhere
from subprocesses import in_fork, run_script

import corefutures as futures
from corefutures_dask import BrokenDaskPool, DaskExecutor, _dispatcher, _executor, _pending


def test_a_cluster_of_its_own_is_started_with_its_options_and_stopped() -> None:
    before = set(psutil.Process().children(recursive=True))
    with futures.create_executor("dask", n_workers=1, threads_per_worker=3, name="named") as pool:
        assert isinstance(pool, DaskExecutor)
        assert pool._max_workers == 3
        cluster = pool._cf_connect().connection.cluster
        assert cluster.name == "named"
        assert pool.submit(dask_calls.pid).result(50) != os.getpid()
    assert cluster.status.name == "closed"
    left = set(psutil.Process().children(recursive=True)) - before
    assert [process for process in left if "resource_tracker" not in " ".join(process.cmdline())] == []


def test_workers_may_be_threads_of_this_process() -> None:
    with DaskExecutor(2, processes=False) as pool:
        assert pool.submit(os.getpid).result(30) == os.getpid()
        inside = pool.submit(pool.shutdown)  # from one of its own workers: does not wait
        assert isinstance(inside.exception(30), Exception) or inside.result(30) is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("corefutures-")]


@pytest.mark.parametrize("owned", [True, False])
def test_no_plugin_is_removed_from_workers_that_end_with_their_cluster(
    owned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    original = Scheduler.unregister_worker_plugin

    async def unregister(scheduler: Any, comm: None, name: str) -> Any:
        removed.append(name)
        return await original(scheduler, comm, name)

    monkeypatch.setattr(Scheduler, "unregister_worker_plugin", unregister)
    if owned:
        with DaskExecutor(1, processes=False) as pool:
            assert pool.submit(pow, 2, 2).result(30) == 4
            scheduler = pool._cf_connect().connection.cluster.scheduler
            shut_down_slowly(scheduler, monkeypatch)
    else:
        with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
            shut_down_slowly(cluster.scheduler, monkeypatch)
            with Client(cluster, set_as_default=False) as client:
                pool = DaskExecutor(client=client)
                assert pool.submit(pow, 2, 2).result(30) == 4
        pool.shutdown()
    assert removed == []


def shut_down_slowly(scheduler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scheduler handle the end of a client before it ends itself."""
    original = scheduler.close

    async def close(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0.3)
        return await original(*args, **kwargs)

    monkeypatch.setattr(scheduler, "close", close)


def test_a_cluster_that_was_joined_goes_on(shared_cluster: Any) -> None:
    with DaskExecutor(scheduler_file=shared_cluster.scheduler_file) as pool:
        assert pool.submit(dask_calls.add, 1, 1).result(30) == 2
        name = pool._cf_connect().pool
    with Client(shared_cluster.address, set_as_default=False) as client:
        assert len(client.scheduler_info()["workers"]) == 2
        assert not any(client.run(_has_plugin, name).values())


def _has_plugin(name: str, dask_worker: Any) -> bool:
    return name in dask_worker.plugins


_has_plugin.__module__ = "__main__"  # goes by value: the workers can't import this file


def test_a_given_client_goes_on(shared_cluster: Any) -> None:
    with Client(shared_cluster.address, set_as_default=False) as client:
        with DaskExecutor(client=client) as pool:
            assert pool.submit(dask_calls.add, 1, 1).result(30) == 2
        assert client.submit(dask_calls.add, 1, 2).result(30) == 3


def test_a_given_client_that_is_closed_breaks_the_pool(shared_cluster: Any, gate: Any) -> None:
    client = Client(shared_cluster.address, set_as_default=False)
    pool = DaskExecutor(client=client)
    calls = [pool.submit(dask_calls.pass_gate, gate.path) for _ in range(4)]
    gate.await_arrivals(2)
    client.close()
    gate.open()
    assert all(isinstance(call.exception(30), BrokenDaskPool) for call in calls)
    pool.shutdown()
    with pytest.raises(ValueError, match="connected"):
        DaskExecutor(client=client)


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("cancel", [True, False])
def test_every_kind_of_shutdown(shared_cluster: Any, wait: bool, cancel: bool) -> None:
    pool = DaskExecutor(1, address=shared_cluster.address)
    calls = [pool.submit(dask_calls.add, number, 1) for number in range(20)]
    pool.shutdown(wait=wait, cancel_futures=cancel)
    if wait:
        assert all(call.done() for call in calls)
    for number, call in enumerate(calls):
        assert (cancel and call.cancelled()) or call.result(30) == number + 1
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(dask_calls.pid)
    pool.shutdown()
    assert not pool._cf_connect().completion.is_alive()


@pytest.mark.parametrize("cancel", [True, False])
def test_a_shutdown_that_is_interrupted_anywhere_can_be_repeated(shared_cluster: Any, cancel: bool) -> None:
    """F8: it waited for ever where a signal handler had raised before the pool was closed."""

    class Interrupted(BaseException):
        pass

    def fail() -> None:
        raise Interrupted

    def scenario(interrupt: Any) -> None:
        pool = DaskExecutor(1, address=shared_cluster.address)
        call = pool.submit(dask_calls.add, 1, 1)
        with contextlib.suppress(Interrupted), interrupt(fail):
            pool.shutdown(cancel_futures=cancel)
        pool.shutdown()
        assert not pool._cf_connect().completion.is_alive()
        assert call.cancelled() or call.result(30) == 2

    assert everywhere(scenario, _dispatcher, _executor, _pending, raises=True) > 10


@pytest.mark.timeout(60)
def test_a_step_at_exit_that_was_interrupted_before_a_pool_was_closed_does_not_wait_for_it(shared_cluster: Any) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        assert pool.submit(dask_calls.add, 1, 1).result(30) == 2
        _executor._dispatchers._join(pool._cf_connect())
        assert pool._cf_connect().completion.is_alive()


def test_shutdown_from_a_callback_does_not_wait(shared_cluster: Any) -> None:
    pool = DaskExecutor(address=shared_cluster.address)
    ended = threading.Event()

    def end(_: Any) -> None:
        pool.shutdown(wait=True)
        ended.set()

    pool.submit(dask_calls.add, 1, 1).add_done_callback(end)
    assert ended.wait(30)
    pool.shutdown()


def test_shutdown_from_dasks_own_loop_does_not_wait(shared_cluster: Any) -> None:
    pool = DaskExecutor(address=shared_cluster.address)
    pool.submit(dask_calls.add, 1, 1).result(30)
    ended = threading.Event()
    pool._cf_connect().transport.loop.add_callback(lambda: (pool.shutdown(wait=True), ended.set()))
    assert ended.wait(30)
    pool.shutdown()


def test_a_pool_that_is_dropped_runs_its_calls_and_ends(shared_cluster: Any) -> None:
    pool = DaskExecutor(address=shared_cluster.address)
    calls = [pool.submit(dask_calls.add, number, 1) for number in range(50)]
    completion = pool._cf_connect().completion
    del pool
    gc.collect()
    assert [call.result(30) for call in calls] == list(range(1, 51))
    completion.join(30)
    assert not completion.is_alive()


def test_at_the_end_of_the_interpreter_calls_are_done_and_processes_gone(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    script = """
        import sys
        from dask_calls import note
        from corefutures import create_executor
        if __name__ == "__main__":
            executor = create_executor("dask", max_workers=1)
            for number in range(30):
                executor.submit(note, sys.argv[1], number)
            print("leaving")
    """
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path), str(journal)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "leaving\n"), done.stderr
    assert done.stderr == ""
    assert sorted(map(int, journal.read_text().split())) == list(range(30))


@pytest.fixture
def _forking_with_threads_is_what_is_tested() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.usefixtures("_forking_with_threads_is_what_is_tested")
def test_in_a_forked_child(shared_cluster: Any, gate: Any) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        calls = [pool.submit(dask_calls.pass_gate, gate.path, number) for number in range(3)]
        gate.await_arrivals(1)

        def child() -> None:
            errors = [call.exception(5) for call in calls]
            assert all(isinstance(error, BrokenDaskPool) for error in errors), errors
            assert all("forked" in str(error) for error in errors)
            assert pool.submit(dask_calls.add, 1, 1).result(15) == 2
            pool.shutdown()

        in_fork(child)
        gate.open()
        assert [call.result(30) for call in calls] == [0, 1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.usefixtures("_forking_with_threads_is_what_is_tested")
def test_large_messages_pass_in_a_forked_child(shared_cluster: Any) -> None:
    large = bytes(12 << 20)  # Dask pickles such messages in a thread that does not exist in a child
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        assert pool.submit(len, large).result(30) == len(large)

        def child() -> None:
            assert pool.submit(len, large).result(15) == len(large)
            pool.shutdown()

        in_fork(child)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_of_an_own_cluster_refuses_calls_and_leaves_the_workers_alone() -> None:
    script = """
        import os, signal, sys, warnings
        warnings.simplefilter("ignore")
        from corefutures import create_executor
        if __name__ == "__main__":
            executor = create_executor("dask", max_workers=1)
            before = executor.submit(os.getpid).result(30)
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                try:
                    executor.submit(pow, 2, 2)
                except RuntimeError as exc:
                    print(exc, flush=True)
                executor.shutdown()
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            assert executor.submit(os.getpid).result(30) == before
            executor.shutdown()
            print("end")
    """
    ended = run_script(script)
    assert ended.err == ""
    assert ended.out == (
        "the pool's cluster belongs to the process that was forked: create_executor('dask') starts another here\nend\n"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.usefixtures("_forking_with_threads_is_what_is_tested")
def test_a_fork_while_a_future_is_locked(shared_cluster: Any, gate: Any) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        calls = [pool.submit(dask_calls.pass_gate, gate.path, number) for number in range(3)]
        gate.await_arrivals(1)
        locked, forked = threading.Event(), threading.Event()

        def hold() -> None:
            with calls[0]._cf_lock, calls[2]._cf_lock, pool._cf_connect().pending._lock:
                locked.set()
                forked.wait(30)

        holder = threading.Thread(target=hold)
        holder.start()
        assert locked.wait(30)
        try:
            in_fork(lambda: [call.exception(5) for call in calls])
        finally:
            forked.set()
            holder.join()
            gate.open()
        assert [call.result(30) for call in calls] == [0, 1, 2]


def test_a_callback_that_raises_does_not_stop_a_cancelling_shutdown(shared_cluster: Any, gate: Any) -> None:
    pool = DaskExecutor(1, address=shared_cluster.address)
    calls = [pool.submit(dask_calls.pass_gate, gate.path, number) for number in range(6)]
    gate.await_arrivals(1)
    called: list[Any] = []

    def leave(_: Any) -> None:
        gate.open()
        raise SystemExit("from a callback")

    for call in calls[1:]:
        call.add_done_callback(called.append)
        call.add_done_callback(leave)
        call.add_done_callback(called.append)
    with pytest.raises(SystemExit, match="from a callback"):
        pool.shutdown(wait=True, cancel_futures=True)
    assert called == [call for call in calls[1:] for _ in range(2)]
    assert all(call.cancelled() for call in calls[1:])
    assert calls[0].result(0) == 0
    assert not pool._cf_connect().completion.is_alive()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="this system has no process groups")
def test_ctrl_c_in_a_terminal_leaves_an_own_clusters_workers_alive(tmp_path: Path) -> None:
    script = """
        import sys
        from dask_calls import handles_ctrl_c, pass_gate
        from corefutures import create_executor
        if __name__ == "__main__":
            executor = create_executor("dask", max_workers=1)
            call = executor.submit(pass_gate, sys.argv[1], "passed")
            try:
                call.result()
            except KeyboardInterrupt:
                print("caught", flush=True)
            print(call.result(), executor.submit(handles_ctrl_c).result(), flush=True)
            executor.shutdown()
    """
    gate = Gate(tmp_path / "gate")
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), gate.path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        gate.await_arrivals(1)
        os.killpg(program.pid, signal.SIGINT)
        assert program.stdout is not None
        assert program.stdout.readline() == "caught\n"
        gate.open()
        assert program.communicate(timeout=40)[0] == "passed True\n"
        assert program.returncode == 0
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.communicate()


def test_nobody_answers_at_an_address() -> None:
    with pytest.raises(futures.BackendUnavailableError, match=r"tcp://127\.0\.0\.1:1"):
        DaskExecutor(address="tcp://127.0.0.1:1", timeout=0.5)


def test_another_version_is_refused_with_a_clear_message(shared_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = Client.get_versions

    def older(self: Any, *args: Any, **options: Any) -> Any:
        found = versions(self, *args, **options)
        found["scheduler"]["packages"]["distributed"] = "2020.1.0"
        return found

    monkeypatch.setattr(Client, "get_versions", older)
    with pytest.raises(futures.BackendUnavailableError, match=r"the scheduler has distributed 2020\.1\.0"):
        DaskExecutor(address=shared_cluster.address)
    with DaskExecutor(address=shared_cluster.address, check_versions=False) as pool:
        assert pool.submit(dask_calls.add, 1, 1).result(30) == 2


def test_workers_without_the_backend_are_reported(make_cluster: Callable[[int], Any]) -> None:
    cluster = make_cluster(0)
    cluster.add_worker(lacks="corefutures_dask")
    cluster.await_workers(1)
    with pytest.raises(futures.BackendUnavailableError, match=r"workers.*install corefutures-dask"):
        DaskExecutor(address=cluster.address)
