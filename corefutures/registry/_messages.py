"""The sentences that a refusal says: what failed, whose it is, why, and what to do; how to install what is missing.

Imported for failures alone. Never says to install a name from the public index: nobody has claimed it there yet, and
whoever did would be run.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from corefutures._options import shown
from corefutures.registry._known import DISABLE_VARIABLE, NICKNAMES, OPTIONS_OF, OWN_DISTRIBUTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from corefutures.registry._description import BackendStatus
    from corefutures.registry._discovery import Claim

#: The environment variables that give pip an index or a folder of one's own.
_OWN_SOURCES: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")


def with_article(noun: str) -> str:
    """Return a noun with its indefinite article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def closest(word: str, words: list[str]) -> str | None:
    """Return the one of the words that a misspelt one may stand for."""
    import difflib  # here for start-up time

    return next(iter(difflib.get_close_matches(word, words, n=1)), None)


def owner(claim: Claim | BackendStatus) -> str:
    """Return the distribution and version that a claim or a status belongs to."""
    return f"{claim.distribution} {claim.version or '(unknown version)'}"


# ── backends ─────────────────────────────────────────────────────────────────────────────────────────────────


def not_usable(kind: str, status: BackendStatus) -> str:
    """Return the refusal of something that can't be used.

    Args:
        kind: What it is: a backend or a command.
        status: Its status.
    """
    whose = owner(status) if status.distribution else "registered by hand"
    remedy = {
        "unavailable": "use another backend here (`corefutures backends` lists them)",
        "broken": f"reinstall or upgrade {status.distribution}, or report it to its authors"
        if status.distribution
        else "correct the Backend that was registered",
        "conflicting": "uninstall all but one of them",
        "disabled": f"remove it from {DISABLE_VARIABLE} to use it",
    }[status.state]
    return f"{kind} {status.name!r} is {status.state} ({whose}): {status.reason}; {remedy}"


def not_found(name: str, installed: list[str], unreadable: tuple[str, ...]) -> str:
    """Return the refusal of a backend's name that nobody claims.

    Args:
        name: The name.
        installed: The backends that are installed or registered.
        unreadable: A phrase for each distribution whose entry points could not be read.
    """
    sentence = f"backend {name!r} not found: "
    if name in OWN_DISTRIBUTIONS:
        sentence += f"it comes with {OWN_DISTRIBUTIONS[name]}, which is not installed; "
        sentence += how_to_install(OWN_DISTRIBUTIONS[name])
    else:
        sentence += "no installed distribution brings it and nobody registered it"
        meant = _meant_backend(name, [*installed, *OWN_DISTRIBUTIONS])
        if meant in installed:
            sentence += f"; did you mean {meant!r}?"
        elif meant:
            sentence += f"; did you mean {meant!r}? {how_to_install(OWN_DISTRIBUTIONS[meant])}"
        if "." in name:
            sentence += "; an executor that is not a backend is named 'package.module:attr'"
    sentence += f" (installed: {', '.join(installed) or 'none'})"
    if unreadable:
        sentence += f"; entry points that could not be read: {', '.join(unreadable)}"
    return sentence


def _meant_backend(name: str, known: list[str]) -> str | None:
    """Return the backend that is meant by a class's name, a plural or another spelling."""
    stem = name.strip().lower().rpartition(".")[2] if name.endswith("Executor") else name.strip().lower()
    for part in ("corefutures", "executor", "pool", "_", "-", " "):
        stem = stem.replace(part, "")
    stem = stem.removesuffix("es") if stem.endswith("sses") else stem.removesuffix("s") if stem[-2:] != "ss" else stem
    stem = NICKNAMES.get(stem, stem)
    return stem if stem in known else closest(name, known)


def no_name(name: object) -> str:
    """Return the refusal of a backend's name that is no str."""
    if isinstance(name, type):
        place = f"{name.__module__}:{name.__qualname__}"
        return (
            f"the name of a backend must be a str such as 'thread', not the class {name.__qualname__}: call it, or name"
            f" its place, {place!r}"
        )
    return f"the name of a backend must be a str such as 'thread', not {shown(name)}"


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────


#: The names of options elsewhere, in joblib, multiprocessing and others.
_OTHER_OPTION_NAMES: Final = {
    **dict.fromkeys(
        (
            "concurrency", "jobs", "max_processes", "max_threads", "n_jobs", "n_workers", "num_processes",
            "num_threads", "num_workers", "pool_size", "processes", "size", "threads", "workers",
        ),
        "max_workers",
    ),
    "maxtasksperchild": "max_tasks_per_child",
    "start_method": "mp_context",
}  # fmt: skip

#: Arguments of a method that are mistaken for options of the factory.
_ARGUMENTS_OF: Final = {
    "buffersize": "map()",
    "cancel_futures": "shutdown()",
    "chunksize": "map()",
    "name": "options()",
    "timeout": "options(), map() or shutdown()",
    "wait": "shutdown()",
}


def check_options(name: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that the factory does not take; name the options that it takes."""
    if not options:
        return
    import inspect  # here for start-up time

    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # it has no signature: the factory itself has to refuse
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    valid = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    for option in options:
        if option not in valid:
            kind, hint = "target" if ":" in name else "backend", _hint(name, option, valid)
            raise TypeError(
                f"{kind} {name!r} has no option {option!r}{hint} (valid: {', '.join(valid) or 'none'})"
            ) from None


def _hint(backend: str, option: str, valid: list[str]) -> str:
    """Return which option may have been meant by an unknown one."""
    usual = _OTHER_OPTION_NAMES.get(option, option)
    if usual in valid:
        return f": here it is called {usual!r}"
    if backend not in (owners := OPTIONS_OF.get(usual, (backend,))):
        called = "" if usual == option else f", called {usual!r}"
        return f": it is an option of {' and '.join(map(repr, owners))}{called}"
    if option in _ARGUMENTS_OF:
        return f": it is an argument of the executor's {_ARGUMENTS_OF[option]}"
    meant = closest(option, valid)
    return f"; did you mean {meant!r}?" if meant else ""


# ── installing ───────────────────────────────────────────────────────────────────────────────────────────────


def how_to_install(*distributions: str) -> str:
    """Return a phrase that says how to install distributions here, with a command that works.

    How depends on where the core comes from: a clone, a folder of wheels, an index of one's own.

    Args:
        distributions: Their names, such as "corefutures-thread".
    """
    if getattr(sys, "frozen", False):
        modules = ", ".join(name.replace("-", "_") for name in distributions)
        return f"this program is a bundle: build it again with {modules} in it"
    core_is_installed, source = _source()
    if source is not None and source.is_dir():
        folders = [source.joinpath(*_place_of(name)) for name in (*_missing_toolkit(distributions), *distributions)]
        if all((folder / "pyproject.toml").is_file() for folder in folders):
            return _pip_install([] if core_is_installed else [source], folders)
    version = _core().__version__
    pinned = [f"{name}=={version}" for name in distributions]
    if source is not None:  # a wheel or sdist: the others are expected beside it
        return _pip_install(["--find-links", source.parent], pinned)
    if any(os.environ.get(variable) for variable in _OWN_SOURCES):
        return _pip_install(pinned)
    in_clone = [f"CLONE/{'/'.join(_place_of(name))}" for name in (*_missing_toolkit(distributions), *distributions)]
    return (
        f"install {' and '.join(distributions)} {version} from where corefutures came from, such as a clone"
        f" (pip install {' '.join(in_clone)}) or a folder of wheels (pip install --find-links"
        f" FOLDER {' '.join(pinned)})"
    )


def _missing_toolkit(distributions: tuple[str, ...]) -> list[str]:
    """Return the toolkit, in a list, if one of the distributions needs it and it has to be named to be found."""
    from importlib.util import find_spec

    needs = set(distributions) - {"corefutures-conformance", "corefutures-pools", "corefutures-structured"}
    return ["corefutures-pools"] if needs and find_spec("corefutures_pools") is None else []


def _pip_install(*arguments: list[Any]) -> str:
    import shlex

    words = " ".join(shlex.quote(str(word)) for part in arguments for word in part)
    return f"install it with: pip install {words}"


def _source() -> tuple[bool, Path | None]:
    """Return whether the core is installed, and the clone or file that it comes from, as far as that is known."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    folder = Path(_core().__file__).resolve().parent.parent
    clone = folder if (folder / "pyproject.toml").is_file() and (folder / "plugins").is_dir() else None
    try:
        direct_url = distribution("corefutures").read_text("direct_url.json")
    except PackageNotFoundError:
        return False, clone
    if clone is not None:
        return True, clone
    try:
        url = urlsplit(json.loads(direct_url or "{}").get("url", ""))
    except ValueError:
        return True, None
    if url.scheme != "file":
        return True, None
    path = Path(unquote(url.path[1:] if os.name == "nt" else url.path))
    return True, path if path.exists() else None


def _core() -> Any:
    """Return the package that this file is in: not imported, as it leads to everything."""
    return sys.modules[__name__.partition(".")[0]]


def _place_of(distribution: str) -> tuple[str, str]:
    """Return the place of a distribution in a clone."""
    folder = "plugins" if distribution in OWN_DISTRIBUTIONS.values() else "packages"
    return folder, distribution.removeprefix("corefutures-")
