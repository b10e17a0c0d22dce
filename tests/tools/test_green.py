"""Programs that gevent or eventlet has patched: pools work where the standard library's do, and refuse where not."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.timeout(120)

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
PROGRAM = """
import warnings; warnings.simplefilter("ignore")
import sys

def patch():
    {patch}

if __name__ == "__main__" and "before" in sys.argv:
    patch()

import multiprocessing, threading, time
import corefutures as futures

def make(kind):
    if kind == "thread":
        return futures.ThreadPoolExecutor(2)
    if kind == "interpreter":
        return futures.InterpreterPoolExecutor(2)
    return futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(kind))

if __name__ == "__main__":
    if "after" in sys.argv:
        with futures.ThreadPoolExecutor(1) as executor:
            executor.submit(abs, 1).result(30)
        futures.ProcessPoolExecutor
        patch()
    beats, over = [], threading.Event()

    def beat():  # as long as others wait
        while not over.wait(0.01):
            beats.append(1)

    thread = threading.Thread(target=beat)
    thread.start()
    for kind in sys.argv[2:]:
        try:
            with make(kind) as executor:
                results = list(executor.map(abs, range(-5, 0), timeout=30))
                large = [len(executor.submit(bytes, 1_000_000).result(30))]
                large += [executor.submit(len, bytes(1_000_000)).result(30)]
                beats.clear()
                executor.submit(time.sleep, 0.5).result(30)
                print(kind, results == [5, 4, 3, 2, 1], large == [1_000_000] * 2, len(beats) > 5)
                assert futures.wait([executor.submit(abs, -1)], timeout=30).not_done == set()
        except futures.UnsupportedError as error:
            print(kind, "refused:", error)
    over.set()
    thread.join()
"""


@pytest.mark.parametrize(("tool", "when"), [("gevent", "before"), ("gevent", "after"), ("eventlet", "before")])
def test_threads_and_processes_run_calls_while_others_go_on(run: Callable[..., str], tool: str, when: str) -> None:
    kinds = ["thread", "fork", "spawn"]
    printed = run(PROGRAM.replace("{patch}", PATCH[tool]), when, *kinds)
    assert printed.splitlines() == [f"{kind} True True True" for kind in kinds]


def test_eventlet_after_our_import_works_for_threads_and_is_refused_for_processes(run: Callable[..., str]) -> None:
    printed = run(PROGRAM.replace("{patch}", PATCH["eventlet"]), "after", "thread", "fork", "spawn").splitlines()
    assert printed[0] == "thread True True True"
    assert len(printed) == 3
    assert all("refused: a process pool can't wait for its workers" in line for line in printed[1:])


def test_threads_alone_are_not_enough_for_processes(run: Callable[..., str]) -> None:
    patch = "from gevent import monkey; monkey.patch_thread()"
    printed = run(PROGRAM.replace("{patch}", patch), "before", "fork", "spawn").splitlines()
    assert len(printed) == 2
    assert all("refused: a process pool can't wait for its workers" in line for line in printed)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need 3.14, whose fork server asks for a key")
def test_what_cannot_work_is_refused_in_a_sentence(run: Callable[..., str]) -> None:
    printed = run(PROGRAM.replace("{patch}", PATCH["gevent"]), "before", "interpreter", "forkserver").splitlines()
    assert "refused: InterpreterPoolExecutor can't run calls here: a library such as gevent" in printed[0]
    assert "refused: a worker process can't be started with 'forkserver' here" in printed[1]
    assert "get_context('spawn')" in printed[1]


WITHOUT_A_LOOP = """
import sys
from gevent import monkey
monkey.{patch}()

import multiprocessing
from corefutures import ProcessPoolExecutor

if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(sys.argv[1])) as executor:
        print(list(executor.map(pow, range(4), range(4))), flush=True)
    print("left", len(multiprocessing.active_children()))
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("patch", ["patch_all", "patch_os"])
def test_workers_need_no_loop_of_gevent(run: Callable[..., str], patch: str, method: str) -> None:
    assert run(WITHOUT_A_LOOP.replace("{patch}", patch), method).splitlines() == ["[1, 1, 4, 27]", "left 0"]
