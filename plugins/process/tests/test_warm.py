"""The option `warm`: workers are forked from a template process, which has imported the modules."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap

import process_calls
import pytest

from corefutures import BrokenExecutor, ProcessPoolExecutor, UnsupportedError, WorkerLostError

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="Windows has no forkserver"
)

LIMIT = 30.0


@pytest.fixture(autouse=True)
def no_template_left():
    yield
    importlib.import_module("corefutures_process._template").close_all()


@pytest.fixture(params=["shared queue", "pipes"] if sys.platform == "linux" else ["pipes"])
def transport(request, monkeypatch):
    monkeypatch.setenv("COREFUTURES_PORTABLE", "1" if request.param == "pipes" else "")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that makes a module, and returns its name."""
    names = iter(f"warmed_{os.getpid()}_{number}" for number in range(9))

    def make(source: str) -> str:
        name = next(names)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    return make


def templates() -> list:
    return list(importlib.import_module("corefutures_process._template")._templates.values())


def template_pid() -> int:
    (template,) = templates()
    return template._process.pid


def imported(name: str, attribute: str = "PID") -> int:
    """Return what the module has noted when it was imported, such as the process; in a worker."""
    return getattr(sys.modules[name], attribute)


PID = "import os\nPID = os.getpid()\n"


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
    except OSError:  # another platform
        return True


def test_workers_find_the_modules_imported_by_the_template(transport, module):
    name = module(PID)
    with ProcessPoolExecutor(2, warm=[name]) as pool:
        assert set(pool.map(imported, [name] * 10)) == {template_pid()}
        assert template_pid() not in pool.map(process_calls.pid, range(10))
        assert not {process.pid for process in multiprocessing.active_children()} - set(pool._processes)
    assert not pool._processes


def test_pools_with_the_same_modules_share_a_template_and_others_have_their_own(module):
    first, second = module(PID), module(PID)
    with ProcessPoolExecutor(1, warm=[first]) as pool:
        made_by = pool.submit(imported, first).result(LIMIT)
    with ProcessPoolExecutor(1, "forkserver", warm=iter([first, first])) as pool:
        assert pool.submit(imported, first).result(LIMIT) == made_by
        with ProcessPoolExecutor(1, warm=[first, second]) as other:
            assert other.submit(imported, second).result(LIMIT) != made_by
            assert other.submit(imported, first).result(LIMIT) != made_by
        with ProcessPoolExecutor(1, warm=[first], inner_threads=1) as other:
            assert other.submit(imported, first).result(LIMIT) != made_by
    assert len(templates()) == 3


def test_lost_workers_are_forked_anew(transport, module):
    name = module(PID)
    with ProcessPoolExecutor(1, warm=[name], on_worker_loss="replace") as pool:
        for loss, code in [(process_calls.leave, 7), (process_calls.kill_self, -9), (process_calls.loud_exit, None)]:
            error = pool.submit(loss).exception(LIMIT)
            assert (error.exitcode if isinstance(error, WorkerLostError) else None) == code
            assert pool.submit(imported, name).result(LIMIT) == template_pid()


def test_calls_per_worker_and_an_initializer(module):
    name = module(PID)
    with ProcessPoolExecutor(
        1, warm=[name], max_tasks_per_child=2, initializer=process_calls.mark, initargs=(os.devnull,)
    ) as pool:
        assert pool._mp_context.get_start_method() == "forkserver"
        assert len(set(pool.map(process_calls.pid, range(6)))) == 3


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("import nonesuch_at_all", ModuleNotFoundError, "No module named 'nonesuch_at_all'"),
        ("1 / 0", ImportError, "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", ImportError, "SystemExit: 3"),
        ("not a module", ImportError, "SyntaxError"),
    ],
)
def test_an_import_that_fails_is_told_when_the_pool_is_made(module, source, kind, message):
    name = module(f"\n\n{source}\n")
    with pytest.raises(ImportError) as caught:
        ProcessPoolExecutor(1, warm=["json", name])
    assert type(caught.value) is kind
    assert caught.value.name == name
    assert f"could not import {name!r}: " in str(caught.value)
    assert message in str(caught.value)
    assert f'{name}.py", line 3' in str(caught.value.__cause__)
    assert not templates()


def test_an_import_that_ends_the_template_is_told(module):
    name = module("import os\nos._exit(5)")
    with pytest.raises(RuntimeError, match=f"ended with exit code 5 while it imported {name}"):
        ProcessPoolExecutor(1, warm=[name])


def test_a_module_that_starts_threads_is_refused(module):
    name = module("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n")
    with pytest.raises(UnsupportedError, match=f"the import of {name!r} starts 1 thread in the template process"):
        ProcessPoolExecutor(1, warm=["json", name])
    quiet = module("import threading\nthread = threading.Thread(target=int)\nthread.start()\nthread.join()\n")
    with ProcessPoolExecutor(1, warm=[quiet]) as pool:
        assert pool.submit(abs, -1).result(LIMIT) == 1


def draw() -> float:
    import numpy as np

    return np.random.rand()


def multiply() -> float:
    import numpy as np

    return float((np.ones((300, 300)) @ np.ones((300, 300)))[0, 0])


def test_numpy_whose_threads_end_before_a_fork_and_whose_generator_is_seeded():
    pytest.importorskip("numpy")
    with ProcessPoolExecutor(1, warm=["numpy", "numpy.random"], max_tasks_per_child=1) as pool:
        assert len({pool.submit(draw).result(LIMIT) for _ in range(3)}) == 3
        assert pool.submit(multiply).result(LIMIT) == 300.0


@pytest.mark.parametrize(
    ("warm", "kind", "message"),
    [
        ("numpy", TypeError, "must be a list of names of modules, not 'numpy'"),
        (3, TypeError, "not 3"),
        ([3], TypeError, "3 is none"),
        ([""], ValueError, "'' is no name of a module"),
        (["numpy.linalg."], ValueError, "'numpy.linalg.' is no name"),
        ([".relative"], ValueError, "'.relative' is no name"),
    ],
)
def test_what_is_no_list_of_modules_is_refused(warm, kind, message):
    with pytest.raises(kind, match=message):
        ProcessPoolExecutor(1, warm=warm)


def test_contexts_of_multiprocessing_itself_are_accepted_and_others_are_not():
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, context, warm=[]) as pool:
        assert pool.submit(abs, -1).result(LIMIT) == 1

    class Own(type(context)):
        class Process(context.Process):
            pass

    with pytest.raises(ValueError, match="a context that has a class of processes of its own"):
        ProcessPoolExecutor(1, Own(), warm=[])
    with pytest.raises(TypeError, match="mp_context must be a multiprocessing context"):
        ProcessPoolExecutor(1, 3, warm=[])


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_other_start_methods_are_refused(method):
    for context in (method, multiprocessing.get_context(method)):
        with pytest.raises(ValueError, match=f"incompatible with the start method '{method}'.*leave mp_context out"):
            ProcessPoolExecutor(1, context, warm=["json"])


def test_workers_have_the_state_of_the_program_as_it_is_when_they_start(monkeypatch, module):
    name = module("import os\nTHREADS = os.environ.get('OMP_NUM_THREADS')\n")
    with ProcessPoolExecutor(1, warm=[name], inner_threads=3, max_tasks_per_child=1) as pool:
        monkeypatch.setenv("SET_LATE", "yes")
        assert pool.submit(os.getenv, "SET_LATE").result(LIMIT) == "yes"
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result(LIMIT) == "3"
        assert pool.submit(imported, name, "THREADS").result(LIMIT) == "3"


def test_a_template_that_was_killed_is_replaced_and_its_workers_go_on(module):
    name = module(PID)
    with ProcessPoolExecutor(1, warm=[name], on_worker_loss="replace") as pool:
        worker, old = pool.submit(process_calls.pid).result(LIMIT), template_pid()
        os.kill(old, signal.SIGKILL)
        if sys.platform == "linux":  # elsewhere no pidfd tells its end from that of the template
            assert pool.submit(process_calls.pid).result(LIMIT) == worker
        assert isinstance(pool.submit(process_calls.leave).exception(LIMIT), WorkerLostError)
        assert pool.submit(imported, name).result(LIMIT) == template_pid() != old


def test_a_template_without_workers_ends_after_a_time(monkeypatch, module):
    name = module(PID)
    monkeypatch.setattr("corefutures_process._template.IDLE", 0.2)
    with ProcessPoolExecutor(1, warm=[name]) as pool:
        first = pool.submit(imported, name).result(LIMIT)
    process_calls.until(templates()[0].has_ended)
    with ProcessPoolExecutor(1, warm=[name]) as pool:
        assert pool.submit(imported, name).result(LIMIT) != first


def test_workers_and_templates_that_are_killed_at_random_leave_nothing(transport, module):
    name, chance = module(PID), random.Random(18)
    with ProcessPoolExecutor(2, warm=[name], on_worker_loss="replace") as pool:
        ends = []
        for _ in range(15):
            futures = [pool.submit(process_calls.square, number) for number in range(10)]
            victims = [*pool._processes, *(template._process.pid for template in templates())]
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
            ends += [future.exception(LIMIT) for future in futures]
        assert {type(end) for end in ends} <= {type(None), WorkerLostError}
        assert ends.count(None) > len(ends) / 2
        # A process that was killed a moment ago may have claimed the next call.
        process_calls.until(lambda: pool.submit(process_calls.square, 3).exception(LIMIT) is None)
        workers = list(pool._processes)
    assert not any(map(is_alive, workers))


def run_program(folder, source: str) -> subprocess.CompletedProcess:
    """Run a program that has a main module."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(source))
    return subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=LIMIT, check=False)


def test_a_main_module_is_imported_once_and_the_template_ends_with_the_program(tmp_path):
    script = """
        import os, sys
        from corefutures import ProcessPoolExecutor
        os.write(2, b"imported\\n")

        def parent():
            return os.getppid()

        if __name__ == "__main__":
            with ProcessPoolExecutor(1, warm=["json"], max_tasks_per_child=1) as pool:
                pids = {pool.submit(parent).result(30) for _ in range(3)}
                print(*pids, flush=True)
                os.kill(os.getpid(), 9)
        """
    done = run_program(tmp_path, script)
    assert done.stderr.count("imported") == 2  # by the program, and by its template
    (template,) = map(int, done.stdout.split())
    process_calls.until(lambda: not is_alive(template))


def test_a_program_that_ends_reaps_its_template(tmp_path):
    script = """
        import atexit, os, sys
        from corefutures import ProcessPoolExecutor

        def look(template):
            print("left" if os.path.exists(f"/proc/{template}/stat") else "gone")

        if __name__ == "__main__":
            pids = []
            atexit.register(lambda: look(*pids))
            pool = ProcessPoolExecutor(1, warm=["json"])
            pids.append(pool.submit(os.getppid).result(30))
        """
    assert run_program(tmp_path, script).stdout == "gone\n"


def test_a_main_module_that_makes_the_pool_at_import_is_told(tmp_path):
    script = """
        from corefutures import ProcessPoolExecutor
        ProcessPoolExecutor(1, warm=["json"])
        """
    done = run_program(tmp_path, script)
    assert "the template process of a pool ended with exit code 1 while it imported __main__" in done.stderr
    assert "if __name__ == '__main__':" in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_child_has_templates_of_its_own(tmp_path):
    script = """
        import os, warnings
        from corefutures import ProcessPoolExecutor
        warnings.simplefilter("ignore")

        if __name__ == "__main__":
            with ProcessPoolExecutor(1, warm=["json"], max_tasks_per_child=1) as pool:
                ours = pool.submit(os.getppid).result(30)
                child = os.fork()
                if child == 0:
                    os._exit(pool.submit(os.getppid).result(30) == ours)
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pool.submit(os.getppid).result(30) == ours)
        """
    assert run_program(tmp_path, script).stdout == "0 True\n"


def test_an_initializer_that_fails_breaks_the_pool(module):
    with ProcessPoolExecutor(1, warm=["json"], initializer=process_calls.complain) as pool:
        error = pool.submit(abs, -1).exception(LIMIT)
        assert isinstance(error, BrokenExecutor)
        assert isinstance(error.__cause__, ArithmeticError)
