"""What importing each door brings into a fresh interpreter, and the contracts on who imports whom."""

from __future__ import annotations

import ast
import concurrent.futures
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def modules_after(statement: str) -> set[str]:
    """The modules that `statement` adds to those of a bare interpreter."""
    program = (
        f"import sys; before = set(sys.modules); {statement}; after = set(sys.modules) - before;"
        "import json; print(json.dumps(sorted(after)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def top_level(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


FAR_TOO_MUCH_FOR_A_WORKER = {
    "pluggy",
    "importlib_metadata",
    "multiprocessing",
    "pytest",
    "_pytest",
    "hypothesis",
}


def test_the_users_door_brings_neither_tools_nor_plugins() -> None:
    brought = modules_after("import corefutures")
    assert "corefutures" in brought
    assert not top_level(brought) & FAR_TOO_MUCH_FOR_A_WORKER
    assert not {name for name in brought if name.startswith("corefutures_")}
    assert "corefutures.registry._registry" not in brought


def test_everything_the_door_names_at_once_brings_no_tool_either() -> None:
    brought = modules_after("from corefutures import Executor, Future, as_completed, wait")
    assert not top_level(brought) & FAR_TOO_MUCH_FOR_A_WORKER


def test_a_worker_may_pass_the_backend_authors_door() -> None:
    brought = modules_after(
        "import corefutures.backend, corefutures_pools.workers.serialization, corefutures_pools.workers.worker_loop;"
        "import corefutures_pools.workers.pipes.worker, corefutures_pools.workers.shared_queue.worker"
    )
    assert "corefutures_pools.workers.worker_loop" in brought
    assert not top_level(brought) & {*FAR_TOO_MUCH_FOR_A_WORKER, "typing", "threading"}
    assert not brought & {"corefutures.registry._registry", "corefutures._future"}


def test_everything_at_the_backend_authors_door_can_be_had() -> None:
    modules_after("import corefutures.backend as door; [getattr(door, name) for name in door.__all__]")


def test_the_thread_backend_runs_calls_without_tools() -> None:
    brought = modules_after(
        "from corefutures_thread import ThreadPoolExecutor as T; e = T(1); e.submit(abs, 1).result()"
    )
    assert not top_level(brought) & FAR_TOO_MUCH_FOR_A_WORKER


@pytest.mark.parametrize("pool", ["ThreadPoolExecutor", "ProcessPoolExecutor", "InterpreterPoolExecutor"])
def test_the_class_of_a_pool_brings_hardly_more_than_the_standard_one(pool: str) -> None:
    """A spawned worker runs the main module's imports, and never uses the class."""
    if not hasattr(concurrent.futures, pool):
        pytest.skip(f"this Python has no {pool}")
    worker = "import multiprocessing.spawn; from {} import {}"
    more = modules_after(worker.format("corefutures", pool)) - modules_after(worker.format("concurrent.futures", pool))
    assert top_level(more) - {"__future__"} == {
        "corefutures",
        "corefutures_pools",
        f"corefutures_{pool.partition('Pool')[0].lower()}",
    }
    assert len(more) <= 18, sorted(more)  # three of them are doors


@pytest.mark.parametrize("pool", ["ThreadPoolExecutor", "ProcessPoolExecutor", "InterpreterPoolExecutor"])
def test_the_first_call_of_a_program_brings_only_what_it_needs(pool: str) -> None:
    """What watches, limits and explains calls comes with the first use of it, and so does `typing`."""
    if not hasattr(concurrent.futures, pool):
        pytest.skip(f"this Python has no {pool}")
    first = "import contextvars; from {} import {} as P; e = P(1); e.submit(abs, 1).result(); e.shutdown()"
    more = modules_after(first.format("corefutures", pool)) - modules_after(first.format("concurrent.futures", pool))
    unneeded = {"registry._registry", "_results", "_observers", "_wait"}
    watching = {"context", "admission", "stats", "inspection.snapshots", "inspection.stacks"}
    assert not more & {"typing", *(f"corefutures.{name}" for name in unneeded)}
    assert not more & {f"corefutures_pools.{name}" for name in watching}
    if pool == "ThreadPoolExecutor":
        ours = sorted(name for name in more if name.startswith("corefutures"))  # Python 3.11 adds importlib's own
        assert len(ours) <= 26, ours


@pytest.mark.skipif(sys.version_info < (3, 14), reason="this Python has no interpreters")
@pytest.mark.skipif(sys.platform != "linux", reason="connections of multiprocessing import much more: no shared queue")
def test_a_worker_interpreter_imports_hardly_anything_for_its_first_call(tmp_path: Path) -> None:
    """What it imports is most of what a worker takes longer to start than its interpreter takes to be created."""
    program = f"""
        from concurrent import interpreters
        from corefutures import InterpreterPoolExecutor
        bare = interpreters.create()
        bare.exec("import sys; open({str(tmp_path / "bare")!r}, 'w').write(' '.join(sys.modules))")
        bare.close()
        with InterpreterPoolExecutor(1) as pool:
            names = pool.submit(eval, "' '.join(__import__('sys').modules)").result()
        open({str(tmp_path / "worker")!r}, "w").write(names)
    """
    modules_after(f"exec({textwrap.dedent(program)!r})")
    bare, worker = (set((tmp_path / name).read_text(encoding="utf-8").split()) for name in ("bare", "worker"))
    brought = worker - bare
    ours = sorted(name for name in brought if name.startswith("corefutures"))
    assert "corefutures_interpreter._worker_interpreter" in ours
    assert len(ours) <= 14, ours
    assert not brought & {"collections", "functools", "pickle", "threading", "typing", "weakref"}


def test_a_worker_that_runs_the_imports_of_the_main_module_reads_no_metadata() -> None:
    program = """
        import corefutures.registry._known as own, multiprocessing.process as process
        def glance(*_): raise AssertionError("metadata was read")
        own._may_be_refused = glance
        process.current_process()._inheriting = True
        from corefutures import ProcessPoolExecutor
        del process.current_process()._inheriting
        assert not own.found_classes
    """
    modules_after(f"exec({textwrap.dedent(program)!r})")


def test_listing_the_backends_imports_none_of_them() -> None:
    brought = modules_after("import corefutures; assert 'thread' in corefutures.backends()")
    assert not {name for name in brought if name.startswith("corefutures_")}


def test_the_import_contracts_hold() -> None:
    pytest.importorskip("importlinter", reason="import-linter is not in the free-threaded dependency group")
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_files_import_each_other_in_a_circle_not_even_for_types() -> None:
    grimp = pytest.importorskip("grimp", reason="it comes with import-linter, which free-threaded Pythons do without")
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    graph = grimp.build_graph(*configured["root_packages"], exclude_type_checking_imports=False, cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := {module for module, others in imported.items() if not others & imported.keys()}:
        for module in leaves:
            del imported[module]
    while roots := imported.keys() - set().union(*imported.values()):
        for module in roots:
            del imported[module]
    assert not imported, {module: sorted(others & imported.keys()) for module, others in imported.items()}


def test_the_import_contracts_cover_every_distribution_and_private_module() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    plugins = {path.parent.name for path in ROOT.glob("plugins/*/src/*/__init__.py")}
    packages = {path.parent.name for path in ROOT.glob("packages/*/src/*/__init__.py")}
    inside = [*(ROOT / "corefutures").glob("_[!_]*.py"), *(ROOT / "corefutures").glob("_[!_]*/*.py")]
    private = {".".join(path.relative_to(ROOT).with_suffix("").parts[:2]) for path in inside}
    layers, *others = [
        contract
        for contract in configured["contracts"]
        if contract.get("containers", ["corefutures"]) == ["corefutures"]
    ]
    every = {"corefutures", *packages, *plugins}
    assert set(configured["root_packages"]) == every
    assert {f"corefutures.{name}" for layer in layers["layers"] for name in re.findall(r"\w+", layer)} >= private
    about = {
        "Backends, monitor, testing and tools use the doors only": plugins
        | {"corefutures_monitor", "corefutures_testing", "corefutures_tools"},
        "What works over any executor uses the core's doors only": {
            "corefutures_conformance",
            "corefutures_joblib",
            "corefutures_structured",
        },
        "Only the conformance kit and what is for tests import pytest and hypothesis": every
        - {"corefutures_conformance", "corefutures_testing"},
        # The others run over any executor, or in Dask's processes, and take none of these from private modules.
        "Locks, threads, queues, clocks and waits are taken from the seam alone": {
            "corefutures",
            "corefutures_interpreter",
            "corefutures_pools",
            "corefutures_process",
            "corefutures_thread",
        },
    }
    for contract in others:
        layered = {name for layer in contract.get("layers", []) for name in layer.split(" | ")}
        named = set(contract.get("source_modules", layered))
        assert named == about.get(contract["name"], every), contract["name"]
        if contract["name"].endswith("the doors only"):
            assert set(contract["forbidden_modules"]) >= private


def test_no_pool_waits_for_connections_past_the_seam() -> None:
    """The contract on the seam is about modules; `multiprocessing.connection` has more than `wait`."""
    wrong = []
    for folder in ("corefutures", "packages/pools/src", "plugins/interpreter/src", "plugins/process/src"):
        for path in sorted((ROOT / folder).glob("**/*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                named = isinstance(node, ast.ImportFrom) and node.module == "multiprocessing.connection"
                waits = named and "wait" in {alias.name for alias in node.names}
                if waits or (isinstance(node, ast.Attribute) and ast.unparse(node).endswith("connection.wait")):
                    wrong.append(path.relative_to(ROOT).as_posix())
    assert set(wrong) == {"corefutures/_blocking.py"}


def test_no_file_of_the_core_imports_another_distribution_not_even_for_types() -> None:
    wrong = []
    for path in sorted(ROOT.glob("corefutures/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.startswith("corefutures_") for name in names):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert wrong == []
