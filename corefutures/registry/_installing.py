"""How a distribution of this project is installed where this program runs: from a clone, a folder of wheels, an index.

Imported only to say it. Never tells to install a name from the public index: nobody has claimed it there yet, and
whoever did would be run.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any, Final

#: Where pip is told of an index or a folder of one's own.
_OWN_SOURCES: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")


def how_to_install(*distributions: str) -> str:
    """Returns a phrase that says how to install distributions here, with a command that works.

    Args:
        distributions: Their names, such as "corefutures-thread".
    """
    if getattr(sys, "frozen", False):
        modules = ", ".join(name.replace("-", "_") for name in distributions)
        return f"this program is a bundle: build it again with {modules} in it"
    core_is_installed, source = _source()
    if source is not None and source.is_dir():
        folders = [_folder_of(source, name) for name in distributions]
        if all(folder is not None for folder in folders):
            return _command([str(folder) for folder in ([] if core_is_installed else [source]) + folders])
    version = _core().__version__
    pinned = [f"{name}=={version}" for name in distributions]
    if source is not None:  # a wheel or sdist: the others are expected beside it
        return _command(["--find-links", str(source.parent), *pinned])
    if any(os.environ.get(variable) for variable in _OWN_SOURCES):
        return _command(pinned)
    return (
        f"install {' and '.join(distributions)} {version} from where corefutures came from, such as a clone"
        f" (pip install CLONE/{'/'.join(_place_of(distributions[0]))}) or a folder of wheels (pip install --find-links"
        f" FOLDER {' '.join(pinned)})"
    )


def _command(arguments: list[str]) -> str:
    return f"install it with: pip install {' '.join(map(shlex.quote, arguments))}"


def _source() -> tuple[bool, Path | None]:
    """Whether the core is installed, and the clone or file that it comes from, as far as that can be told."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    clone = Path(_core().__file__).resolve().parent.parent
    try:
        told = distribution("corefutures").read_text("direct_url.json")
    except PackageNotFoundError:
        return False, clone if _is_clone(clone) else None
    if _is_clone(clone):
        return True, clone
    try:
        url = urlsplit(json.loads(told or "{}").get("url", ""))
    except ValueError:
        return True, None
    if url.scheme != "file":
        return True, None
    path = Path(unquote(url.path[1:] if os.name == "nt" else url.path))
    return True, path if path.exists() else None


def _core() -> Any:
    """The package that this file is in: not imported, as it leads to everything."""
    return sys.modules[__name__.partition(".")[0]]


def _is_clone(folder: Path) -> bool:
    return (folder / "pyproject.toml").is_file() and (folder / "plugins").is_dir()


def _place_of(distribution: str) -> tuple[str, str]:
    from corefutures.registry._known import OWN_DISTRIBUTIONS

    room = "plugins" if distribution in OWN_DISTRIBUTIONS.values() else "packages"
    return room, distribution.removeprefix("corefutures-")


def _folder_of(clone: Path, distribution: str) -> Path | None:
    folder = clone.joinpath(*_place_of(distribution))
    return folder if (folder / "pyproject.toml").is_file() else None
