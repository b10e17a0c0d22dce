"""The three local backends of this project, found by import: no scan of all metadata, no plugin manager (R3).

Imports nothing of corefutures. Guarantees: a class is returned only if nothing speaks against it that the registry
would refuse (R2): no other distribution claims the name, and the plugin is of this very version.
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

#: Names backends that are not to be used, separated by commas.
DISABLE_VARIABLE: Final = "COREFUTURES_DISABLE"

#: What to install for each backend of this project.
OWN_DISTRIBUTIONS: Final = {
    "thread": "corefutures-thread",
    "process": "corefutures-process",
    "interpreter": "corefutures-interpreter",
    "dask": "corefutures-dask",
}

#: The pool classes of the local ones.
OWN_CLASSES: Final = {
    "thread": "ThreadPoolExecutor",
    "process": "ProcessPoolExecutor",
    "interpreter": "InterpreterPoolExecutor",
}

#: The commands of this project's other distributions: each one's distribution and module.
OWN_COMMANDS: Final = {
    "compare": ("corefutures-tools", "corefutures_tools._commands.compare"),
    "conformance": ("corefutures-conformance", "corefutures_conformance.command"),
    "map": ("corefutures-tools", "corefutures_tools._commands.map"),
    "new-backend": ("corefutures-tools", "corefutures_tools._commands.new_backend"),
    "trace": ("corefutures-monitor", "corefutures_monitor._trace_command"),
}

#: Those that were found; entries are only added, by any thread.
found: Final[dict[str, type]] = {}


def disabled_names() -> frozenset[str]:
    """The names in COREFUTURES_DISABLE, as it is now."""
    return frozenset(name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name.strip())


def own_class(name: str, version: str) -> type | None:
    """The pool class of one of our local backends.

    Args:
        name: The backend's name.
        version: That of the core; the plugin has to have the same.

    Returns:
        The class; None for another backend, and where the registry has to look: it says what is wrong.

    Thread safety: may be called from any thread. No lock is held while the plugin is imported.
    """
    if name not in OWN_CLASSES or name in disabled_names():
        return None
    pool_class: Any = found.get(name)
    if pool_class is None:
        package = OWN_DISTRIBUTIONS[name].replace("-", "_")
        glance = not _prepares_main()
        if glance and _may_be_refused(name, package, version):
            return None
        try:
            pool_class = getattr(import_module(package), OWN_CLASSES[name])
        except Exception:
            return None
        if glance:
            found[name] = pool_class
    return pool_class  # type: ignore[no-any-return]


def lines_of_group(entry_points: str, group: str = GROUP) -> Iterator[str]:
    """The lines of one of our groups, without comments.

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


def _prepares_main() -> bool:
    """Whether this is a worker that runs the imports of the main module: where that was run first, they were allowed.

    As `multiprocessing` knows it, which lets no process be started meanwhile.
    """
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


def _may_be_refused(name: str, package: str, version: str) -> bool:
    """Whether metadata has another claim to the name, or may have one where a glance doesn't show it."""
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


#: Finders that look at folders on sys.path, as the glance does.
_KNOWN_FINDERS: Final = ("_frozen_importlib_external", "importlib_metadata")
