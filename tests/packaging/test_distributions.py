"""Each distribution as its users get it: built, looked into, installed alone in a clean environment, used."""

from __future__ import annotations

import ast
import email.parser
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = "corefutures"
FOLDERS = {CORE: ROOT} | {f"{CORE}-{path.parent.name}": path.parent for path in ROOT.glob("p*/*/pyproject.toml")}
PLUGINS = sorted(name for name, folder in FOLDERS.items() if folder.parent.name == "plugins")
PACKAGES = sorted(FOLDERS.keys() - {CORE, *PLUGINS})
POOLS = f"{CORE}-pools"
#: Installed with the toolkit of pools; the other packages need the core alone.
WITH_TOOLKIT = {*PLUGINS, POOLS, f"{CORE}-joblib", f"{CORE}-monitor", f"{CORE}-testing", f"{CORE}-tools"}
#: Installed with backends: what it chooses by itself.
WITH_BACKENDS = {f"{CORE}-joblib": {f"{CORE}-process", f"{CORE}-thread"}}

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(300)]


#: Environments of their own find nothing by way of this one's.
OWN: dict[str, str] = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=OWN,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def package(distribution: str) -> str:
    return distribution.replace("-", "_")


def project(distribution: str) -> dict[str, object]:
    configuration: dict[str, dict[str, object]] = tomllib.loads(
        (FOLDERS[distribution] / "pyproject.toml").read_text(encoding="utf-8")
    )
    return configuration["project"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel of each distribution, each wheel built from its sdist."""
    wheels = tmp_path_factory.mktemp("wheels")
    for distribution, folder in FOLDERS.items():
        run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", wheels, cwd=folder)
        unpacked = tmp_path_factory.mktemp(distribution)
        (sdist,) = wheels.glob(f"{package(distribution)}-[0-9]*.tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
        (source,) = unpacked.iterdir()
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels, cwd=source)
    return wheels


def wheel(built: Path, distribution: str) -> Path:
    (path,) = built.glob(f"{package(distribution)}-[0-9]*.whl")
    return path


def names_in_wheel(built: Path, distribution: str) -> list[str]:
    with zipfile.ZipFile(wheel(built, distribution)) as archive:
        return archive.namelist()


def metadata(built: Path, distribution: str) -> Message:
    with zipfile.ZipFile(wheel(built, distribution)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(archive.read(name).decode())


def install_alone(built: Path, folder: Path, *requirements: str) -> Path:
    """Installs from the built wheels into a new environment; returns its interpreter."""
    venv.create(folder, with_pip=True)
    (python,) = (path for path in folder.glob("*/python*") if path.stem == "python")
    run(python, "-m", "pip", "install", "--quiet", "--find-links", built, *requirements, cwd=folder)
    return python


def answer(python: Path, program: str) -> str:
    return run(python, "-I", "-W", "error", "-c", program, cwd=python.parent).strip()


def ours(python: Path) -> set[str]:
    """The distributions of this project in an environment."""
    program = "from importlib.metadata import distributions as all; print(*{one.name for one in all()})"
    return {name for name in answer(python, program).split() if name.startswith(CORE)}


@pytest.mark.parametrize("distribution", sorted(FOLDERS))
def test_a_wheel_holds_its_package_and_nothing_else(built: Path, distribution: str) -> None:
    names = names_in_wheel(built, distribution)
    own = package(distribution)
    assert {name.split("/")[0] for name in names} == {
        own,
        f"{own}-{project(distribution)['version']}.dist-info",
    }
    assert {f"{own}/__init__.py", f"{own}/py.typed"} <= set(names)
    source = FOLDERS[distribution] / own if distribution == CORE else FOLDERS[distribution] / "src" / own
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", source).splitlines()
    missing = {str((ROOT / name).relative_to(source.parent).as_posix()) for name in tracked} - set(names)
    assert missing == set()
    assert not [name for name in names if name.endswith((".pyc", ".so"))]


@pytest.mark.parametrize("distribution", sorted(FOLDERS))
def test_an_sdist_holds_what_its_list_allows(built: Path, distribution: str) -> None:
    (sdist,) = built.glob(f"{package(distribution)}-[0-9]*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 2)[1] for name in archive.getnames() if "/" in name}
    allowed = {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert names - allowed == ({CORE, "CHANGELOG.md"} if distribution == CORE else {"src", "tests"})


@pytest.mark.parametrize("distribution", sorted(FOLDERS))
def test_the_metadata_is_complete(built: Path, distribution: str) -> None:
    facts = metadata(built, distribution)
    assert facts["Requires-Python"] == ">=3.11"
    assert facts["License-Expression"] == "MIT"
    assert facts.get_all("License-File") == ["LICENSE"]
    assert facts["Summary"]
    assert {url.partition(",")[0] for url in facts.get_all("Project-URL", [])} >= {"Homepage", "Changelog"}
    assert str(facts.get_payload()).startswith(f"# {distribution}\n")


def test_an_index_would_take_the_files(built: Path) -> None:
    pytest.importorskip("twine", reason="twine is in the dependency group release, which `make wheels` installs")
    files = sorted(built.glob("corefutures*"))
    assert len(files) == 2 * len(FOLDERS)
    run(sys.executable, "-m", "twine", "check", "--strict", *files)


def test_the_core_needs_two_distributions_and_offers_its_extras(built: Path) -> None:
    facts = metadata(built, CORE)
    required = facts.get_all("Requires-Dist", [])
    assert sorted(one for one in required if "extra ==" not in one) == [
        "importlib-metadata>=8",
        "pluggy>=1.5",
    ]
    extras = set(facts.get_all("Provides-Extra", []))
    assert extras >= {"all", "conformance", *(name.removeprefix(f"{CORE}-") for name in FOLDERS.keys() - {CORE})}
    assert extras == set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@pytest.mark.parametrize("distribution", PLUGINS)
def test_a_plugin_pins_the_core_to_a_range_and_names_its_backend(built: Path, distribution: str) -> None:
    backend = distribution.removeprefix(f"{CORE}-")
    assert f"{CORE}<0.2,>=0.1" in metadata(built, distribution).get_all("Requires-Dist", [])
    with zipfile.ZipFile(wheel(built, distribution)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        assert archive.read(name).decode().split() == [
            "[corefutures.backends]", backend, "=", f"{package(distribution)}._plugin",
            "[pyinstaller40]", "hook-dirs", "=", f"{package(distribution)}._bundling:hook_dirs",
        ]  # fmt: skip


@pytest.mark.parametrize("distribution", PACKAGES)
def test_a_package_alone_brings_the_core_and_offers_its_names(built: Path, tmp_path: Path, distribution: str) -> None:
    assert f"{CORE}<0.2,>=0.1" in metadata(built, distribution).get_all("Requires-Dist", [])
    python = install_alone(built, tmp_path, distribution)
    program = f"import {package(distribution)} as it; print([getattr(it, name) for name in it.__all__] != [])"
    assert answer(python, program) == "True"
    toolkit = {POOLS} if distribution in WITH_TOOLKIT else set()
    assert ours(python) == {CORE, distribution, *toolkit, *WITH_BACKENDS.get(distribution, set())}
    run(python, "-m", "pip", "check", cwd=tmp_path)


def test_the_core_alone_tells_which_distribution_is_missing(built: Path, tmp_path: Path) -> None:
    python = install_alone(built, tmp_path, CORE)
    assert answer(python, "import corefutures; print(dict(corefutures.backends()))") == "{}"
    program = (
        "import corefutures\n"
        "try: corefutures.create_executor('thread')\n"
        "except corefutures.BackendNotFoundError as error: print(error)"
    )
    assert f"{CORE}-thread" in answer(python, program)
    run(python.with_name(f"{CORE}{python.suffix}"), "backends", cwd=tmp_path)
    program = (
        "import corefutures\n"
        "for name, module in corefutures._FORWARDED.items():\n"
        "    assert name not in corefutures.__all__\n"
        "    try: getattr(corefutures, name)\n"
        "    except ModuleNotFoundError as error: assert f\"distribution {module.replace('_', '-')},\" in str(error)\n"
        "    else: raise AssertionError(name)"
    )
    answer(python, program)


OWN_EXECUTOR = """
import corefutures
from corefutures.backend import Backend

class Inline(corefutures.Executor):
    def submit(self, fn, /, *args, **kwargs):
        future = corefutures.Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

corefutures.register_backend(Backend("inline", Inline, summary="the calling thread"))
with corefutures.create_executor("inline") as executor:
    futures = [executor.submit(pow, 2, n) for n in range(3)]
    assert sorted(future.result() for future in corefutures.as_completed(futures)) == [1, 2, 4]
    assert corefutures.wait(futures).not_done == set()
    assert list(executor.map(abs, [-1, 2])) == [1, 2]
    assert isinstance(executor.submit(int, "x").exception(), ValueError)
print(*(f"{name} {status.state}" for name, status in corefutures.backends().items()))
"""


def test_the_core_alone_runs_a_registered_executor(built: Path, tmp_path: Path) -> None:
    python = install_alone(built, tmp_path, CORE)
    assert ours(python) == {CORE}
    assert answer(python, OWN_EXECUTOR) == "inline available"


def test_the_core_is_small(built: Path) -> None:
    """About 3,000 lines of code: without blank lines, comments and docstrings."""
    lines = 0
    with zipfile.ZipFile(wheel(built, CORE)) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                tree = ast.parse(archive.read(name))
                for node in ast.walk(tree):
                    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                        node.body = node.body[1:] or [ast.Pass()]
                lines += len(ast.unparse(tree).splitlines())
    assert lines < 3000


WATCHED = """
import concurrent.futures, corefutures
with corefutures.trace("run.json"), corefutures.adapt(concurrent.futures.ThreadPoolExecutor(1)) as executor:
    executor.submit(abs, -1).result()
"""


def test_the_monitor_alone_watches_any_executor_and_brings_its_command(built: Path, tmp_path: Path) -> None:
    python = install_alone(built, tmp_path / "environment", f"{CORE}-monitor")
    (tmp_path / "program.py").write_text(WATCHED)
    run(python, "-W", "error", "program.py", cwd=tmp_path)
    command = python.with_name(f"{CORE}{python.suffix}")
    assert "1 calls by " in run(command, "trace", "run.json", cwd=tmp_path)


def test_the_tools_alone_work_with_any_executor(built: Path, tmp_path: Path) -> None:
    command = install_alone(built, tmp_path / "environment", f"{CORE}-tools").with_name(CORE)
    anybodys = ("-b", "concurrent.futures:ThreadPoolExecutor", "-j", "1", "--json-lines", "math:sqrt", "4", "9")
    assert run(command, "map", *anybodys, cwd=tmp_path).split() == ["2.0", "3.0"]
    assert "recommended: " in run(command, "compare", "--seconds", "0.01", *anybodys, cwd=tmp_path)
    run(command, "new-backend", "acme", cwd=tmp_path)
    assert (tmp_path / "corefutures-acme" / "pyproject.toml").is_file()


@pytest.mark.parametrize("distribution", PLUGINS)
def test_a_plugin_alone_brings_the_core_and_runs_calls_or_says_why_not(
    built: Path, tmp_path: Path, distribution: str
) -> None:
    backend = distribution.removeprefix(f"{CORE}-")
    python = install_alone(built, tmp_path, distribution)
    options = ", cluster='local'" if backend == "slurm" else ""  # there is no SLURM here
    program = (
        "import corefutures\n"
        "try:\n"
        f"    with corefutures.create_executor({backend!r}{options}) as executor:\n"
        "        print(executor.submit(pow, 2, 10).result())\n"
        "except corefutures.BackendUnavailableError as error:\n"
        "    print('unavailable:', error)"
    )
    assert ours(python) == {CORE, POOLS, distribution}  # no kit, no monitor, no tools
    printed = answer(python, program)
    # Interpreters need Python 3.14; MPI's library is the machine's, or `mpich`; Ray has no wheel for each Python.
    may_lack = backend in ("interpreter", "mpi", "ray")
    assert printed == "1024" or (printed.startswith("unavailable:") and may_lack), printed
    assert run(python.with_name(f"{CORE}{python.suffix}"), "backends", "--check", cwd=tmp_path)
    run(python, "-m", "pip", "check", cwd=tmp_path)


STRANGER = """
from concurrent.futures import ThreadPoolExecutor
class Pool(ThreadPoolExecutor):
    "Somebody else's executor, which knows nothing of us."
    def submit(self, fn, /, *args, **kwargs):
        return super().submit(fn, *args)  # it forgets the keyword arguments
"""
CLASS = """
from concurrent.futures import ThreadPoolExecutor
from corefutures_conformance import ExecutorTests
class TestIt(ExecutorTests):
    def make_executor(self, max_workers, **options):
        return ThreadPoolExecutor(max_workers, **options)
"""


def test_the_kit_judges_where_nothing_else_of_ours_is_but_the_core(built: Path, tmp_path: Path) -> None:
    python = install_alone(built, tmp_path, f"{CORE}[conformance]")
    assert ours(python) == {CORE, f"{CORE}-conformance"}
    (tmp_path / "stranger.py").write_text(STRANGER)
    command = [python.with_name(f"{CORE}{python.suffix}"), "conformance", "-q", "-k", "passes"]
    said = run(*command, "concurrent.futures:ThreadPoolExecutor", cwd=tmp_path)
    assert said.startswith("concurrent.futures:ThreadPoolExecutor: conformant as far as selected")
    failed = subprocess.run(
        [*command, "stranger:Pool"], cwd=tmp_path, env=OWN, capture_output=True, text=True, timeout=240, check=False
    )
    assert failed.returncode == 1, failed.stderr
    assert failed.stdout.startswith("stranger:Pool: nonconformant as far as selected")


def test_the_kit_judges_a_backend_beside_it(built: Path, tmp_path: Path) -> None:
    python = install_alone(built, tmp_path, f"{CORE}[thread,conformance]")
    command = python.with_name(f"{CORE}{python.suffix}")
    assert run(command, "conformance", "-q", "-k", "passes", "thread", cwd=tmp_path).startswith("thread: conformant")


def test_pytest_finds_the_plugin_of_the_kit_by_itself(built: Path, tmp_path: Path) -> None:
    python = install_alone(built, tmp_path, "corefutures-conformance")
    (tmp_path / "test_it.py").write_text(CLASS)
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_nothing_of_the_kit_was_imported():\n"
        "    assert {n for n in sys.modules if n.startswith('corefutures')} == "
        "{'corefutures_conformance', 'corefutures_conformance.plugin'}\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    pytest_there = [python, "-m", "pytest", "-q"]
    run(*pytest_there, "test_other.py", cwd=tmp_path)
    for given in ([], ["-p", "corefutures_conformance.plugin"]):
        said = run(*pytest_there, *given, "-k", "passes_no", "test_it.py", cwd=tmp_path)
        assert "test_it.py::TestIt: conformant as far as selected" in said


def test_type_checkers_see_what_the_doors_offer(built: Path, tmp_path: Path) -> None:
    python = install_alone(built, tmp_path / "environment", f"{CORE}[thread]")
    (tmp_path / "program.py").write_text(
        "from corefutures import Future, as_completed, create_executor, wait\n"
        "from corefutures.backend import Backend, Capabilities, Executor, hookimpl\n"
        "from corefutures_thread import ThreadPoolExecutor\n"
        "\n"
        "def lengths(executor: Executor, words: list[str]) -> list[int]:\n"
        "    futures: list[Future[int]] = [executor.submit(len, word) for word in words]\n"
        "    wait(futures)\n"
        "    return [future.result() for future in as_completed(futures)]\n"
        "\n"
        "lengths(ThreadPoolExecutor(2), ['a'])\n"
        "create_executor('thread')\n"
    )
    run(
        sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "program.py", cwd=tmp_path
    )  # fmt: skip


# ── what README and errors tell to type ──────────────────────────────────────────────────────────────────────

USE = """
import sys
from corefutures import create_executor
if __name__ == "__main__":
    for name in sys.argv[1:]:
        with create_executor(name, max_workers=1) as executor:
            print(name, list(executor.map(abs, [-1, 2])))
"""
LOCAL = ["thread", "process", *(["interpreter"] if sys.version_info >= (3, 14) else [])]
SAYS_WHAT_IS_MISSING = """
import corefutures
try: corefutures.create_executor({!r})
except LookupError as error: print(error)
"""
#: What of a clone its distributions are built from.
SOURCES = {"corefutures", "plugins", "packages", "README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"}


def new_environment(folder: Path) -> Path:
    """Makes an environment with pip and nothing else; returns its interpreter."""
    venv.create(folder, with_pip=True)
    (python,) = (path for path in folder.glob("*/python*") if path.stem == "python")
    return python


def use(python: Path, folder: Path, *backends: str) -> None:
    (folder / "program.py").write_text(USE)
    told = run(python, "-W", "error", "program.py", *backends, cwd=folder).splitlines()
    assert told == [f"{name} [1, 2]" for name in backends]


def follow(python: Path, advice: str, folder: Path) -> None:
    """Types the command that an error gives."""
    command = re.search(r"install it with: (pip install .*?)(?= \(installed:|$)", advice)
    assert command is not None, advice
    run(python, "-m", *shlex.split(command[1]), cwd=folder)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file() and name.split("/")[0] in SOURCES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def test_from_a_clone(clone: Path, tmp_path: Path) -> None:
    python = new_environment(tmp_path / "environment")
    run(python, "-m", "pip", "install", "--quiet", ".", cwd=clone)
    follow(python, run(python, "-c", SAYS_WHAT_IS_MISSING.format("thread"), cwd=tmp_path), tmp_path)
    use(python, tmp_path, "thread")
    advice = run(python, "-c", SAYS_WHAT_IS_MISSING.format("process"), cwd=tmp_path)
    assert "comes with corefutures-process, which is not installed" in advice
    follow(python, advice, tmp_path)
    use(python, tmp_path, "thread", "process")


def test_from_a_folder_of_wheels(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    run(sys.executable, "tools/build_dist.py", dist)
    assert len(list(dist.glob("*.whl"))) == len(list(dist.glob("*.tar.gz"))) == len(FOLDERS)
    python = new_environment(tmp_path / "environment")
    everything = f"{CORE}[all,monitor,structured,tools]"
    run(python, "-m", "pip", "install", "--quiet", "--find-links", dist, everything, cwd=tmp_path)
    use(python, tmp_path, *LOCAL)
    left = {f"{CORE}-{name}" for name in ("conformance", "dask", "joblib", "mpi", "ray", "slurm", "testing")}
    assert ours(python) == FOLDERS.keys() - left
    run(python, "-m", "pip", "check", cwd=tmp_path)


def test_a_wheel_installed_by_its_path_finds_the_others_beside_it(built: Path, tmp_path: Path) -> None:
    python = new_environment(tmp_path / "environment")
    run(python, "-m", "pip", "install", "--quiet", wheel(built, CORE), cwd=tmp_path)
    follow(python, run(python, "-c", SAYS_WHAT_IS_MISSING.format("thread"), cwd=tmp_path), tmp_path)
    use(python, tmp_path, "thread")


def test_from_elsewhere_the_advice_names_no_index_of_everybody(built: Path, tmp_path: Path) -> None:
    python = install_alone(built, tmp_path / "environment", CORE)
    environment = {name: value for name, value in OWN.items() if not name.startswith("PIP_")}
    command = [python, "-c", SAYS_WHAT_IS_MISSING.format("thread")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path).stdout
    assert "install corefutures-thread 0.1.0 from where corefutures came from" in told
    assert "--find-links FOLDER corefutures-thread==0.1.0" in told
    assert "pip install corefutures-thread" not in told
    environment["PIP_FIND_LINKS"] = str(built)
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path).stdout
    follow_with_environment = [python, "-m", "pip", "install", "--quiet", "corefutures-thread==0.1.0"]
    assert "install it with: pip install corefutures-thread==0.1.0" in told
    subprocess.run(follow_with_environment, check=True, env={**OWN, **environment}, cwd=tmp_path, timeout=240)
    use(python, tmp_path, "thread")


def test_a_plugin_without_the_core_says_how_to_get_it(clone: Path, tmp_path: Path) -> None:
    python = new_environment(tmp_path / "environment")
    folders = [folder for folder in sorted((clone / "plugins").iterdir()) if (folder / "pyproject.toml").is_file()]
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", *folders, cwd=clone)
    for folder in folders:
        program = (
            f"try: import corefutures_{folder.name}\nexcept ModuleNotFoundError as error: print(error.name, error)"
        )
        told = run(python, "-c", program, cwd=tmp_path)
        assert told.startswith(f"corefutures corefutures_{folder.name} needs the distribution corefutures"), told
        assert "the root of the same clone (pip install .)" in told
