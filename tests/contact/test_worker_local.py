"""`worker_local`: values that each worker of a thread, process or interpreter pool makes once."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import corefutures
from tests.support import worker_local_calls as calls

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),  # forks beside pytest's
]

METHODS = [method for method in ("fork", "forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]
KINDS = [
    "thread",
    *(f"process, {method}" for method in METHODS),
    pytest.param(
        "interpreter",
        marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14"),
    ),
]
ISOLATED = [kind for kind in KINDS if kind != "thread"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, **options: Any) -> Any:
    name, _, method = kind.partition(", ")
    if method:
        options["mp_context"] = multiprocessing.get_context(method)
    return corefutures.create_executor(name, **options)


def lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


@every_kind
def test_each_worker_makes_the_value_once_and_closes_it(kind: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    local = corefutures.worker_local(calls.Model, str(journal), name="small")
    with make(kind, max_workers=2) as pool:
        told = list(pool.map(calls.name_of, [local] * 60))
    assert {name for name, _, _ in told} == {"small"}
    workers = {worker for _, _, worker in told}
    assert len({(model, worker) for _, model, worker in told}) == len(workers)
    assert sorted(lines(journal)) == sorted(["make small"] * len(workers) + ["close small"] * len(workers))


@every_kind
def test_values_are_closed_in_reverse_order(kind: str, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    locals_ = [
        corefutures.worker_local(calls.Model, journal, "first"),
        corefutures.worker_local(calls.entered, journal, "second"),
        corefutures.worker_local(calls.Model, journal, "third"),
    ]
    with make(kind, max_workers=1) as pool:
        pool.submit(calls.get_several, *locals_).result()
        assert pool.submit(calls.get_entered, locals_[1]).result() == "the value of second"
    assert lines(Path(journal)) == [
        "make first", "enter second", "make third", "close third", "leave second", "close first",
    ]  # fmt: skip


@every_kind
def test_a_factory_that_fails_fails_its_call_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    local = corefutures.worker_local(calls.Fails(str(path)))
    with make(kind, max_workers=1) as pool:
        for _ in range(2):
            with pytest.raises(OSError, match="the model is missing"):
                pool.submit(calls.get, local).result()
        path.touch()
        assert pool.submit(calls.get, local).result() == "made"
        path.unlink()
        assert pool.submit(calls.get, local).result() == "made"


@every_kind
def test_an_error_of_closing_stops_no_other_value(kind: str, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    locals_ = [corefutures.worker_local(calls.Model, journal, "first"), corefutures.worker_local(calls.Unclosable)]
    with make(kind, max_workers=1) as pool:
        pool.submit(calls.get_several, *locals_).result()
    assert lines(Path(journal)) == ["make first", "close first"]


@every_kind
def test_a_value_of_a_module_is_one_with_its_copies(kind: str) -> None:
    with make(kind, max_workers=1) as pool:
        assert pool.submit(calls.of_module).result() == pool.submit(calls.of_module).result()
        assert pool.submit(calls.of_module_and_argument, calls.of_the_module).result()


@every_kind
def test_an_initializer_makes_values(kind: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    local = corefutures.worker_local(calls.Model, str(journal), "early")
    with make(kind, max_workers=1, initializer=local.get) as pool:
        assert pool.submit(calls.name_of, local).result()[0] == "early"
    assert lines(journal) == ["make early", "close early"]


@every_kind
def test_a_factory_that_uses_its_own_value_is_refused(kind: str) -> None:
    with make(kind, max_workers=1) as pool, pytest.raises(RuntimeError, match="is making worker_local"):
        pool.submit(calls.get_itself).result()


@pytest.mark.parametrize("kind", ISOLATED)
def test_threads_of_a_worker_share_its_value(kind: str) -> None:
    local = corefutures.worker_local(dict)
    with make(kind, max_workers=1) as pool:
        assert pool.submit(calls.get_in_threads, local).result() == 1


@pytest.mark.skipif(sys.platform == "win32", reason="kills a worker by a signal, which Windows has not")
@pytest.mark.parametrize("kind", [f"process, {method}" for method in METHODS if method != "fork"])
def test_a_worker_that_replaces_a_lost_one_makes_the_value_anew(kind: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    local = corefutures.worker_local(calls.Model, str(journal), "model")
    with make(kind, max_workers=1, on_worker_loss="replace") as pool:
        pool.submit(calls.name_of, local).result()
        with pytest.raises(corefutures.WorkerLostError):
            pool.submit(calls.kill_this_worker).result()
        assert pool.submit(calls.name_of, local).result()[0] == "model"
    assert lines(journal) == ["make model", "make model", "close model"]


@pytest.mark.skipif("fork" not in METHODS, reason="forks a worker from a worker")
def test_a_worker_of_a_worker_has_values_of_its_own(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    local = corefutures.worker_local(calls.Model, str(journal), "model")
    with make("process, fork", max_workers=1) as pool:
        assert pool.submit(nested, local).result() == "model"
    assert lines(journal) == ["make model", "make model", "close model", "close model"]


def nested(local: Any) -> str:
    local.get()
    with make("process, fork", max_workers=1) as pool:
        name: str = pool.submit(calls.name_of, local).result()[0]
        return name


def test_a_worker_that_leaves_before_the_pool_ends_closes_its_value(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    local = corefutures.worker_local(calls.Model, str(journal), "model")
    with make("process", max_workers=1, max_tasks_per_child=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in range(3):
            pool.submit(calls.name_of, local).result()
    assert lines(journal).count("make model") == lines(journal).count("close model") == 3


def test_outside_of_a_worker_there_is_no_value() -> None:
    local = corefutures.worker_local(dict)
    with pytest.raises(RuntimeError, match="outside of a worker"):
        local.get()
    with make("thread", max_workers=1) as pool:
        errors: list[BaseException] = []

        def get_in_a_thread_of_its_own() -> None:
            def get() -> None:
                try:
                    local.get()
                except RuntimeError as exc:
                    errors.append(exc)

            thread = threading.Thread(target=get)
            thread.start()
            thread.join()

        pool.submit(get_in_a_thread_of_its_own).result()
        assert "outside of a worker" in str(errors[0])


def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="must be callable"):
        corefutures.worker_local("small.bin")  # type: ignore[arg-type]


def test_a_copy_stands_for_the_same_value() -> None:
    local = corefutures.worker_local(dict, a=1)
    copy = pickle.loads(pickle.dumps(local))
    assert copy is not local
    assert repr(copy) == "worker_local(dict, a=1)"
    assert pickle.loads(pickle.dumps(calls.of_the_module)) is calls.of_the_module
    with make("thread", max_workers=1) as pool:
        assert pool.submit(calls.get, local).result() is pool.submit(calls.get, copy).result()
