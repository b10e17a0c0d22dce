"""The first-party facts of the registry, and our three local backends found by import, without a scan of all metadata.

Imports the seam alone. Guarantees: a class is returned only if the registry would find nothing against it (R2): no
other distribution claims the name, and the plugin has the core's version.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import FileIO

from corefutures._blocking import system

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

#: The entry-point group; its keys are backend names, its values plugin modules.
GROUP: Final = "corefutures.backends"

#: The environment variable with the names of backends that are not to be used, separated by commas.
DISABLE_VARIABLE: Final = "COREFUTURES_DISABLE"

#: What to install for each backend of this project.
OWN_DISTRIBUTIONS: Final = {
    "thread": "corefutures-thread",
    "process": "corefutures-process",
    "interpreter": "corefutures-interpreter",
    "dask": "corefutures-dask",
    "mpi": "corefutures-mpi",
    "slurm": "corefutures-slurm",
    "ray": "corefutures-ray",
}

#: The pool classes of the local ones.
OWN_CLASSES: Final = {
    "thread": "ThreadPoolExecutor",
    "process": "ProcessPoolExecutor",
    "interpreter": "InterpreterPoolExecutor",
}

#: Own backends that older Pythons can't run, whatever is installed.
FIRST_PYTHON: Final = {"interpreter": (3, 14)}

#: Which of our backends a refusal names for a capability that no installed backend has.
OWN_CAPABILITIES: Final = {
    "asks_running": "thread",
    "counts_calls": "thread",
    "kills_running": "process",
    "runs_in_place": "thread",
    "shares_memory": "thread",
    "shares_objects": "thread",
    "slots": "thread",
    "streams": "thread",
}

#: Options that not all of our backends have, and which have them.
OPTIONS_OF: Final = {
    "account": ("slurm",),
    "address": ("dask", "ray"),
    "check_versions": ("dask",),
    "client": ("dask",),
    "constraint": ("slurm",),
    "cpus": ("slurm", "ray"),
    "folder": ("slurm",),
    "gpus": ("slurm", "ray"),
    "idle": ("slurm",),
    "init": ("ray",),
    "kill_on_cancel": ("process",),
    "kill_tree": ("process",),
    "max_tasks_per_child": ("process",),
    "mem_gb": ("slurm",),
    "memory": ("process",),
    "memory_total": ("process",),
    "mp_context": ("process",),
    "on_worker_loss": ("process",),
    "partition": ("slurm",),
    "priority": ("dask",),
    "qos": ("slurm",),
    "resources": ("dask", "ray"),
    "retries": ("dask",),
    "runtime_env": ("ray",),
    "sbatch": ("slurm",),
    "scheduler_file": ("dask",),
    "security": ("dask",),
    "serializer": ("process", "interpreter"),
    "setup": ("slurm",),
    "spares": ("process",),
    "thread_name_prefix": ("thread", "interpreter"),
    "time": ("slurm",),
    "warm": ("process",),
}

#: The names of backends elsewhere; in small letters, without "pool", "executor" and the plural.
NICKNAMES: Final = {
    **dict.fromkeys(("dask.distributed", "distributed", "localcluster"), "dask"),
    **dict.fromkeys(("futures", "threading"), "thread"),
    **dict.fromkeys(("mpi4py", "mpi4py.futures", "mpicomm"), "mpi"),
    **dict.fromkeys(("mp", "multiprocess", "multiprocessing", "subprocess"), "process"),
    **dict.fromkeys(("submitit", "sbatch"), "slurm"),
    "subinterpreter": "interpreter",
}

#: The commands of this project's other distributions: each one's distribution and module.
OWN_COMMANDS: Final = {
    "compare": ("corefutures-tools", "corefutures_tools._commands.compare"),
    "completion": ("corefutures-tools", "corefutures_tools._commands.completion"),
    "conformance": ("corefutures-conformance", "corefutures_conformance.command"),
    "map": ("corefutures-tools", "corefutures_tools._commands.map"),
    "new-backend": ("corefutures-tools", "corefutures_tools._commands.new_backend"),
    "trace": ("corefutures-monitor", "corefutures_monitor._trace_command"),
}

# ── our local backends, by import ────────────────────────────────────────────────────────────────────────────

#: Classes that were found, by the backend's name; entries are only added, by any thread.
found_classes: Final[dict[str, type]] = {}


def disabled_names() -> frozenset[str]:
    """Return the names in COREFUTURES_DISABLE, as it is now."""
    return frozenset(name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name.strip())


def own_class(name: str, version: str) -> type | None:
    """Return the pool class of one of our local backends.

    Args:
        name: The backend's name.
        version: The version of the core; the plugin must have the same.

    Returns:
        The class; None for another backend, and where the registry has to decide: it says what is wrong.

    Thread safety: may be called from any thread. No lock is held while the plugin is imported.
    """
    if name not in OWN_CLASSES or name in disabled_names():
        return None
    pool_class: Any = found_classes.get(name)
    if pool_class is None:
        package = OWN_DISTRIBUTIONS[name].replace("-", "_")
        checks = not _imports_main()
        if checks and _may_be_refused(name, package, version):
            return None
        try:
            pool_class = getattr(import_module(package), OWN_CLASSES[name])
        except Exception:
            return None
        if checks:
            found_classes[name] = pool_class
    return pool_class  # type: ignore[no-any-return]


def lines_of_group(entry_points: str, group: str = GROUP) -> Iterator[str]:
    """Yield the lines of one of our groups, without comments.

    Read line by line, not with `distribution.entry_points`, which one malformed line of any group makes raise.
    """
    section = None
    for line in entry_points.splitlines():
        line = line.strip()
        if not line or line.startswith(("#", ";")):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == group:
            yield line


def _imports_main() -> bool:
    """Return whether this is a worker that imports the main module: the process that started it has checked the class.

    `multiprocessing` knows, because no process may be started during that import.
    """
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


def _may_be_refused(name: str, package: str, version: str) -> bool:
    """Return whether metadata has another claim to the name, or may have one that is not in the folders of sys.path."""
    for finder in sys.meta_path:
        module = getattr(finder, "__module__", "")
        if hasattr(finder, "find_distributions") and module not in _KNOWN_FINDERS:
            return True
    group = GROUP.encode()
    for folder in dict.fromkeys(sys.path):
        try:
            names = system.listdir(folder or ".")
        except NotADirectoryError:  # an archive
            return True
        except OSError:
            continue
        for info in names:
            if not info.lower().endswith(("dist-info", "egg-info")):
                continue
            try:
                with FileIO(f"{folder or '.'}/{info}/entry_points.txt") as file:
                    content = file.readall()
            except OSError:
                continue
            if group not in content:
                continue
            stem, _, rest = info.partition("-")
            if stem.lower().replace(".", "_") == package and rest.startswith(f"{version}."):
                continue
            try:
                keys = [line.partition("=")[0].strip() for line in lines_of_group(content.decode())]
            except UnicodeDecodeError:
                continue
            if name in keys:
                return True
    return False


#: Finders that look at folders on sys.path, as `_may_be_refused` does.
_KNOWN_FINDERS: Final = ("_frozen_importlib_external", "importlib_metadata")
