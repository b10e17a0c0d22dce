"""The types of the public interface: mypy --strict and pyright infer what they must, and refuse what they must."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import corefutures

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

needs_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not in the free-threaded dependency group"
)
needs_pyright = pytest.mark.skipif(
    importlib.util.find_spec("pyright") is None, reason="pyright is in the dependency group of `make check` only"
)


def run(*command: str, limit: float = 110) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
    return done.returncode, done.stdout + done.stderr


def mypy(path: Path, cache: Path) -> tuple[int, str]:
    return run(
        sys.executable, "-m", "mypy", "--strict", "--show-error-codes", "--no-error-summary",
        "--cache-dir", str(cache), "--python-executable", sys.executable, str(path),
    )  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@needs_mypy
@pytest.mark.timeout(120)
def test_mypy_infers_what_it_must(cache: Path) -> None:
    status, output = mypy(HERE / "right.py", cache)
    assert status == 0, output


@needs_mypy
@pytest.mark.timeout(120)
def test_mypy_refuses_what_it_must(cache: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    shutil.copyfile(HERE / "wrong.py.txt", wrong)
    _, output = mypy(wrong, cache)
    found = {
        (int(line), code)
        for line, code in re.findall(r"wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", output, re.MULTILINE)
    }
    expected = {
        (number, match[1])
        for number, line in enumerate(wrong.read_text(encoding="utf-8").splitlines(), 1)
        if (match := re.search(r"# expect: ([a-z-]+)", line))
    }
    assert len(expected) > 10
    assert found == expected, output


@needs_pyright
@pytest.mark.timeout(120)
def test_pyright_infers_what_it_must() -> None:
    status, output = run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(HERE / "right.py"))
    assert status == 0, output


def stub() -> ast.Module:
    return ast.parse((ROOT / "corefutures" / "__init__.pyi").read_text(encoding="utf-8"))


def test_the_stub_has_the_names_that_there_are() -> None:
    (listed,) = (
        node.value
        for node in stub().body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    )
    runtime = {*corefutures.__all__} | {"ThreadPoolExecutor", "ProcessPoolExecutor"}  # pools are listed if installed
    assert sorted(ast.literal_eval(listed)) == sorted(runtime - {"InterpreterPoolExecutor"})


@pytest.mark.parametrize("backend", ["thread", "process", "interpreter", "dask"])
def test_the_stub_has_the_options_that_there_are(backend: str) -> None:
    overloads = [node for node in ast.walk(stub()) if isinstance(node, ast.FunctionDef)]
    (overload,) = (
        node
        for node in overloads
        if f"Literal['{backend}']" in ast.unparse(node.args.posonlyargs[0].annotation or node)
    )
    if corefutures.backends().get(backend) is None or (backend == "interpreter" and sys.version_info < (3, 14)):
        pytest.skip(f"the {backend} backend is not installed, or not for this Python")
    factory = importlib.import_module(f"corefutures_{backend}")
    parameters = inspect.signature(getattr(factory, ast.unparse(overload.returns or overload))).parameters.values()
    told = {arg.arg: ast.unparse(arg.annotation or arg) for arg in overload.args.kwonlyargs}
    defaults = [ast.unparse(default) for default in overload.args.kw_defaults if default is not None]
    named = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    assert told == {parameter.name: parameter.annotation for parameter in named}
    assert defaults == [repr(parameter.default) for parameter in named]


def test_what_is_checked_also_runs() -> None:
    status, output = run(sys.executable, "-W", "error", str(HERE / "right.py"), limit=50)
    assert status == 0, output
