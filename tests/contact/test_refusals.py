"""What is wrong in a call is refused by that call, in one sentence with the value, the reason and what helps."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import inspect
import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

import pytest

import corefutures
from corefutures import UnsupportedError
from corefutures.registry import _registry
from corefutures.registry._known import OPTIONS_OF, OWN_CLASSES, OWN_DISTRIBUTIONS
from tests.support import control_calls

NAN = float("nan")
CASES: list[tuple[str, Callable[[], object], type[Exception], str]] = []


def case(name: str, error: type[Exception], phrase: str, act: Callable[[], object]) -> None:
    CASES.append((name, act, error, phrase))


LOCAL = ["thread", "process"] + ["interpreter"] * (sys.version_info >= (3, 14))
ISOLATED = LOCAL[1:]


def made(backend: str, **options: Any) -> Callable[[], object]:
    return lambda: corefutures.create_executor(backend, **options)


for backend in LOCAL:
    for option, value, error, phrase in [
        ("max_workers", "4", TypeError, "max_workers must be an integer or None, not '4': write max_workers=4"),
        ("max_workers", 2.0, TypeError, "not 2.0: write max_workers=2"),
        ("max_workers", 2.5, TypeError, "not 2.5"),
        ("max_workers", True, TypeError, "not True"),
        ("max_workers", NAN, TypeError, "not nan"),
        ("max_workers", [], TypeError, "not []"),
        ("max_workers", 0, ValueError, "max_workers must be greater than 0, not 0"),
        ("initializer", "print", TypeError, "initializer must be a callable, not 'print': pass the function itself"),
        ("initargs", 5, TypeError, "initargs must be a tuple of arguments, not 5: write initargs=(5,)"),
        ("initargs", "abc", TypeError, "not 'abc': write initargs=('abc',)"),
        ("initargs", None, TypeError, "not None: leave it out"),
        ("max_pending", "4", TypeError, "max_pending must be an integer or None, not '4': write max_pending=4"),
        ("max_pending", True, TypeError, "not True"),
        ("max_pending", 0, ValueError, "max_pending must be greater than 0, not 0"),
        ("when_full", "explode", ValueError, "when_full must be 'block', 'raise' or 'caller_runs', not 'explode'"),
        ("when_full", "raise", ValueError, "max_pending, which is not given: add max_pending"),
        ("when_full", "caller_runs", ValueError, "max_pending, which is not given: add max_pending"),
        ("at_exit", "die", ValueError, "at_exit must be 'wait', 'cancel', 'kill' or 'abandon', not 'die'"),
        ("at_exit", None, ValueError, "not None"),
        ("forward_logs", "no", TypeError, "forward_logs must be True or False, not 'no'"),
        ("forward_logs", None, TypeError, "not None"),
        ("context", 3, TypeError, "context must be 'copy' or a list of names, not 3"),
        ("context", ["nope"], ValueError, "there is no context variable 'nope'"),
        ("n_jobs", 4, TypeError, f"backend '{backend}' has no option 'n_jobs': here it is called 'max_workers'"),
        ("processes", 4, TypeError, "here it is called 'max_workers'"),
        ("max_worker", 4, TypeError, "has no option 'max_worker'; did you mean 'max_workers'?"),
        ("chunksize", 3, TypeError, "it is an argument of the executor's map()"),
        ("retries", 3, TypeError, "it is an option of 'dask'"),
    ]:
        case(f"{backend} {option}={value!r}", error, phrase, made(backend, **{option: value}))
for backend in [name for name in LOCAL if name != "process"]:
    case(f"{backend} mp_context", TypeError, "it is an option of 'process'", made(backend, mp_context="spawn"))
    case(
        f"{backend} start_method", TypeError, "option of 'process', called 'mp_context'", made(backend, start_method=1)
    )
    case(f"{backend} kill_on_cancel", TypeError, "it is an option of 'process'", made(backend, kill_on_cancel=True))
    case(f"{backend} warm", TypeError, "it is an option of 'process'", made(backend, warm=["json"]))
    case(f"{backend} spares", TypeError, "it is an option of 'process'", made(backend, spares=1))
    case(f"{backend} thread_name_prefix", TypeError, "must be a str, not 3", made(backend, thread_name_prefix=3))
    case(f"{backend} inner_threads", UnsupportedError, "create_executor('process')", made(backend, inner_threads=3))
case(
    "thread serializer",
    TypeError,
    "it is an option of 'process' and 'interpreter'",
    made("thread", serializer="pickle"),
)
for option, value, error, phrase in [
    ("mp_context", "spwan", ValueError, "mp_context must be a multiprocessing context or one of "),
    ("mp_context", 3, TypeError, "the name of a start method, or None, not 3"),
    ("max_tasks_per_child", "4", TypeError, "max_tasks_per_child must be an integer or None, not '4'"),
    ("max_tasks_per_child", 0, ValueError, "max_tasks_per_child must be >= 1, not 0"),
    ("on_worker_loss", "brake", ValueError, "on_worker_loss must be 'break' or 'replace', not 'brake'"),
    ("serializer", "json", ValueError, "serializer must be 'pickle' or 'cloudpickle', not 'json'"),
    ("kill_tree", "no", TypeError, "kill_tree must be True or False, not 'no'"),
    ("kill_on_cancel", "no", TypeError, "kill_on_cancel must be True or False, not 'no'"),
    ("inner_threads", "4", TypeError, "inner_threads must be an integer or None, not '4': write inner_threads=4"),
    ("inner_threads", 0, ValueError, "inner_threads must be greater than 0, not 0"),
    ("thread_name_prefix", "x", TypeError, "it is an option of 'thread' and 'interpreter'"),
    ("start_method", "spawn", TypeError, "here it is called 'mp_context'"),
]:
    case(f"process {option}={value!r}", error, phrase, made("process", **{option: value}))

for name, phrase in [
    ("ThreadPoolExecutor", "did you mean 'thread'?"),
    ("ProcessPoolExecutor", "did you mean 'process'?"),
    ("concurrent.futures.ProcessPoolExecutor", "did you mean 'process'?"),
    ("corefutures_thread", "did you mean 'thread'?"),
    ("Threads", "did you mean 'thread'?"),
    ("multiprocessing", "did you mean 'process'?"),
    ("processes", "did you mean 'process'?"),
    ("subinterpreters", "did you mean 'interpreter'"),
    ("distributed", "did you mean 'dask'"),
]:
    case(f"name {name}", corefutures.BackendNotFoundError, phrase, made(name))
case("class", TypeError, "a str such as 'thread', not the class", made(concurrent.futures.ThreadPoolExecutor))  # type: ignore[arg-type]
case("number", TypeError, "a str such as 'thread', not 3", made(3))  # type: ignore[arg-type]

SECONDS = [
    ("1", TypeError, "timeout must be a number of seconds or None, not '1': write timeout=1"),
    ([], TypeError, "not []"),
    (True, TypeError, "not True"),
    (NAN, ValueError, "not nan"),
]


def done() -> corefutures.Future[int]:
    future: corefutures.Future[int] = corefutures.Future()
    future.set_result(1)
    return future


for value, error, phrase in SECONDS:
    for ended in True, False:
        for method in "result", "exception":
            case(
                f"{method}(timeout={value!r}), {ended}",
                error,
                phrase,
                lambda ended=ended, method=method, value=value: getattr(  # type: ignore[misc]
                    done() if ended else corefutures.Future(), method
                )(timeout=value),
            )
    case(f"wait({value!r})", error, phrase, lambda value=value: corefutures.wait([], value))  # type: ignore[misc]
    case(f"as_completed({value!r})", error, phrase, lambda value=value: corefutures.as_completed([], value))  # type: ignore[misc]
    case(f"dump({value!r})", error, phrase, lambda value=value: corefutures.dump(timeout=value))  # type: ignore[misc]


class Observer:
    def on_call_finished(self, call: object) -> None: ...


for name, error, phrase, act in [
    ("wait(3)", TypeError, "wait takes several futures, such as a list of them, not 3", lambda: corefutures.wait(3)),  # type: ignore[arg-type]
    ("wait(future)", TypeError, "write wait([future])", lambda: corefutures.wait(done())),  # type: ignore[arg-type]
    ("as_completed(future)", TypeError, "as_completed([future])", lambda: corefutures.as_completed(done())),  # type: ignore[arg-type]
    ("wait([3])", TypeError, "take futures, not 3", lambda: corefutures.wait([3])),  # type: ignore[type-var]
    ("return_when", ValueError, "'ALL': return_when must be FIRST", lambda: corefutures.wait([], return_when="ALL")),
    ("callback", TypeError, "takes a callable, not 3", lambda: done().add_done_callback(3)),  # type: ignore[arg-type]
    ("exception", TypeError, "takes an exception, not 'x'", lambda: corefutures.Future().set_exception("x")),  # type: ignore[arg-type]
    ("observer", TypeError, "has none of the hooks of an observer", lambda: corefutures.add_observer(3)),
    ("hook", TypeError, "call its on_call_finished() corefutures_", lambda: corefutures.add_observer(Observer())),
    ("no observer", ValueError, "3 is no observer: it was not added", lambda: corefutures.remove_observer(3)),
    ("signal", TypeError, "signum must be an integer, not 'x'", lambda: corefutures.dump_on_signal("x")),  # type: ignore[arg-type]
    ("signal 999", ValueError, "there is no signal 999", lambda: corefutures.dump_on_signal(999)),
    ("dump file", TypeError, "not 'f': open it, open('f', 'w')", lambda: corefutures.dump("f")),  # type: ignore[arg-type]
    ("adapt", TypeError, "adapt() takes an executor, not 3", lambda: corefutures.adapt(3)),  # type: ignore[arg-type]
    ("trace", TypeError, "takes the path of the file to be written, not 3", lambda: corefutures.trace(3)),  # type: ignore[arg-type]
    ("progress", TypeError, "takes an executor of corefutures, not 3", lambda: corefutures.progress(3)),  # type: ignore[arg-type]
    ("track", TypeError, "or another iterable, not 3", lambda: corefutures.track(3)),  # type: ignore[arg-type]
    ("total", ValueError, "total must be 0 or more, not -1", lambda: corefutures.track([], total=-1)),
    ("description", TypeError, "description must be a str, not 3", lambda: corefutures.track([], description=3)),  # type: ignore[arg-type]
    ("backends", TypeError, "write backends=['thread']", lambda: corefutures.compare(abs, [1], backends="thread")),
    ("items", TypeError, "an iterable of items, not 3", lambda: corefutures.compare(abs, 3)),  # type: ignore[arg-type]
    ("sample", TypeError, "not '4': write sample=4", lambda: corefutures.compare(abs, [1], sample="4")),  # type: ignore[arg-type]
    ("seconds", ValueError, "greater than 0 seconds, not 0", lambda: corefutures.compare(abs, [1], seconds=0)),
    ("register", TypeError, "takes a Backend, not 3", lambda: corefutures.register_backend(3)),  # type: ignore[arg-type]
]:
    case(name, error, phrase, act)


@pytest.mark.parametrize(("act", "error", "phrase"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_it_is_refused_in_one_sentence(act: Callable[[], object], error: type[Exception], phrase: str) -> None:
    with pytest.raises(error) as caught:
        act()
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(params=LOCAL)
def pool(request: pytest.FixtureRequest):
    with corefutures.create_executor(request.param, max_workers=1) as executor:
        yield executor


def test_methods_refuse_what_makes_no_sense(pool) -> None:
    for value, error, phrase in SECONDS:
        for act in (
            lambda value=value: pool.map(abs, [1], timeout=value),
            lambda value=value: pool.options(timeout=value),
            lambda value=value: pool.snapshot(timeout=value),
            lambda value=value: pool.shutdown(timeout=value),
        ):
            with pytest.raises(error) as caught:
                act()
            assert phrase in str(caught.value)
    for act, error, phrase in [
        (lambda: pool.submit(3), TypeError, "submit() takes a callable, not 3: pass the function itself"),
        (lambda: pool.submit(None, 1), TypeError, "not None"),
        (lambda: pool.map(3, [1]), TypeError, "takes a callable, not 3"),
        (
            lambda: pool.map(abs, 3),
            TypeError,
            "takes iterables after the function, not 3: write [3] for one item",
        ),
        (lambda: pool.map(abs, [1], buffersize="2"), TypeError, "buffersize must be an integer or None, not '2'"),
        (lambda: pool.map(abs, [1], buffersize=0), ValueError, "buffersize must be None or > 0, not 0"),
        (lambda: pool.map(abs, [1], chunksize=0), ValueError, "chunksize must be >= 1, not 0"),
        (
            lambda: pool.map(abs, [1], chunksize="2"),
            ValueError,
            "must be a number of items or 'auto', not '2'",
        ),
        (lambda: pool.map(abs, [1], chunksize=2.5), TypeError, "chunksize must be an integer or 'auto', not 2.5"),
        (lambda: pool.options(timeout=0), ValueError, "timeout must be greater than 0 seconds, not 0"),
        (lambda: pool.options(name=3), TypeError, "name must be a str, not 3"),
        (lambda: pool.request_cancel(3), TypeError, "not 3"),
        (
            lambda: pool.shutdown(timeout=-1),
            ValueError,
            "must be 0 or more seconds, not -1; None sets no limit",
        ),
        (lambda: pool.shutdown(wait="no"), TypeError, "wait must be True or False, not 'no'"),
        (lambda: pool.shutdown(cancel_futures="no"), TypeError, "cancel_futures must be True or False, not 'no'"),
    ]:
        with pytest.raises(error) as caught:
            act()
        assert phrase in str(caught.value)
        assert "\n" not in str(caught.value)
    assert pool.submit(abs, -1).result(30) == 1  # nothing of it has shut it down
    pool.shutdown(timeout=float("inf"))


def test_a_future_of_another_pool_is_refused() -> None:
    for backend in ISOLATED:
        with (
            corefutures.create_executor(backend, max_workers=1) as one,
            corefutures.create_executor(backend, max_workers=1) as other,
        ):
            future = one.submit(control_calls.until_asked)  # it runs until its own pool asks it to stop
            for act in [other.request_cancel] + [other.kill] * (backend == "process"):
                with pytest.raises(ValueError, match="belongs to another pool"):
                    act(future)
            assert one.request_cancel(future)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has one start method")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_start_method_may_be_named() -> None:
    for method in {"fork", "forkserver", "spawn"}.intersection(multiprocessing.get_all_start_methods()):
        with corefutures.create_executor("process", max_workers=1, mp_context=method) as executor:
            assert executor._mp_context.get_start_method() == method
            assert executor.submit(abs, -1).result(30) == 1


#: What a backend needs besides itself.
_ENGINES = {"dask": "distributed", "mpi": "mpi4py", "ray": "ray", "slurm": "submitit"}


def test_the_table_of_options_is_right() -> None:
    signatures = {}
    for backend in OWN_DISTRIBUTIONS:
        if not _has(f"corefutures_{backend}") or not _has(_ENGINES.get(backend, "sys")):
            pytest.skip("the table can be checked where every backend is installed")
        if backend == "interpreter" and sys.version_info < (3, 14):
            pytest.skip("the interpreter backend needs Python 3.14")
        signatures[backend] = set(inspect.signature(_registry.REGISTRY.factory(backend)).parameters)
    local = [name for name in signatures if name in OWN_CLASSES]
    for option, owners in OPTIONS_OF.items():
        assert {name for name in signatures if option in signatures[name]} == set(owners), option
    some = set.union(*signatures.values()) - set.intersection(*(signatures[name] for name in local))
    assert some - {"cluster", "timeout"} == set(OPTIONS_OF)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
