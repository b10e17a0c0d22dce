"""What type checkers must infer; `test_types` has mypy --strict and pyright read it. It also runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent import futures as standard
from typing import TYPE_CHECKING, assert_type

import corefutures as futures
from corefutures import Executor, Future, ThreadPoolExecutor, adapt, as_completed, create_executor, wait
from corefutures.backend import Capabilities

if TYPE_CHECKING:
    import corefutures_interpreter
    from corefutures import ProcessPoolExecutor
    from corefutures_dask import DaskExecutor


def scale(value: int, /, factor: float, *, name: str = "") -> float:
    return value * factor


def greet(name: str) -> str:
    return f"hello {name}"


def submit(executor: Executor) -> None:
    assert_type(executor.submit(scale, 1, 2.0), Future[float])
    assert_type(executor.submit(scale, 1, factor=2.0, name="x"), Future[float])
    assert_type(executor.submit(greet, name="you").result(timeout=1), str)
    assert_type(executor.submit(lambda: [1]).result(), list[int])
    assert_type(executor.submit(greet, "you").exception(), BaseException | None)


def map_over(executor: Executor) -> None:
    results = executor.map(greet, ["a", "b"], timeout=1.5, buffersize=2)
    assert_type(next(results), str)
    for greeting in executor.map(greet, ["a"]):
        assert_type(greeting, str)
    iterator: Iterator[str] = executor.map(greet, ["a"])
    assert_type(list(iterator), list[str])
    results.close()


def wait_for(ours: list[Future[int]]) -> None:
    for future in as_completed(ours, timeout=1):
        assert_type(future, Future[int])
        assert_type(future.result(), int)
    done, not_done = wait(ours, timeout=1, return_when=futures.FIRST_COMPLETED)
    for future in done | not_done:
        assert_type(future, Future[int])


def wait_for_others(theirs: list[standard.Future[str]], mixed: list[standard.Future[str] | Future[str]]) -> None:
    for future in as_completed(theirs):
        assert_type(future, standard.Future[str])
    for either in wait(mixed).done:
        assert_type(either.result(), str)


def make() -> None:
    with create_executor("thread", max_workers=2) as executor:
        assert_type(executor, ThreadPoolExecutor)
        assert_type(executor.submit(greet, "you").result(), str)
        executor.shutdown(timeout=30)
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="x", initializer=print, initargs=(1,)) as pool:
        assert_type(pool, ThreadPoolExecutor)
        assert_type(pool.submit(scale, 1, 2.0), Future[float])


def count_to(end: int) -> Iterator[float]:
    yield from range(end)


def stream() -> None:
    """The items have the type that the generator function yields."""
    with ThreadPoolExecutor(1) as pool, pool.stream(count_to, 3, buffer=2) as items:
        assert_type(items, futures.Stream[float])
        assert_type(next(items), float)
        assert_type(list(pool.options(name="x").stream(range, 3)), list[int])
        pool.stream(count_to, end=3).close()


async def stream_in_task() -> None:
    with ThreadPoolExecutor(1) as pool:
        async with pool.stream(count_to, 3) as items:
            async for item in items:
                assert_type(item, float)


def make_each(name: str) -> None:
    """Each backend's name gives its own class, with our options; any other name an `Executor`."""
    assert_type(create_executor(name, colour="red"), Executor)
    assert_type(create_executor("dask", n_workers=2), DaskExecutor)
    with create_executor("process", max_workers=2, on_worker_loss="replace", forward_logs=True) as processes:
        assert_type(processes, ProcessPoolExecutor)
        processes.map(abs, [-1], chunksize="auto")
        processes.kill_workers()
    if sys.version_info >= (3, 14):
        with create_executor("interpreter", max_workers=2, serializer="cloudpickle") as interpreters:
            assert_type(interpreters, corefutures_interpreter.InterpreterPoolExecutor)
        assert_type(futures.InterpreterPoolExecutor, type[corefutures_interpreter.InterpreterPoolExecutor])
        with futures.InterpreterPoolExecutor(2, forward_logs=True) as pool:
            assert_type(pool.options(name="x").submit(scale, 1, 2.0), Future[float])
            assert_type(pool.stats(), futures.Stats)


class Bare:
    """As little as `adapt` needs."""

    def submit(self, call: Callable[[], object]) -> standard.Future[object]:
        future: standard.Future[object] = standard.Future()
        future.set_result(call())
        return future

    def shutdown(self) -> None: ...


def adapted() -> None:
    with adapt(Bare()) as executor:
        submit(executor)
        map_over(executor)
        assert_type(executor.submit(scale, 1, 2.0), Future[float])
        assert_type(executor.capabilities, Capabilities)
    anybody: Executor = adapt(standard.ThreadPoolExecutor(1), capabilities=Capabilities(same_process=True))
    adapt(anybody).shutdown(cancel_futures=True)


def callbacks(future: Future[int]) -> None:
    def called(ended: Future[int]) -> None:
        ended.result()

    future.add_done_callback(called)
    future.add_done_callback(lambda ended: assert_type(ended.result(), int))


def drop_in(executor: standard.Executor, future: standard.Future[int]) -> None:
    """Where the standard library's types are asked for, ours are accepted."""


def pass_ours() -> None:
    with ThreadPoolExecutor(1) as pool:
        drop_in(pool, pool.submit(int))


if __name__ == "__main__":
    with ThreadPoolExecutor(2) as threads:
        submit(threads)
        map_over(threads)
        wait_for([threads.submit(int, "1")])
    make()
    adapted()
    pass_ours()
