"""The installed backends and commands, read from the metadata of distributions; our own are known without it.

The only user of importlib_metadata. Imports no plugin, keeps no state and takes no lock: each `scan` reads anew, and
whatever is wrong with one distribution affects that distribution alone.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import importlib_metadata

from corefutures._error_text import describe_error
from corefutures.registry._known import GROUP, OWN_COMMANDS, OWN_DISTRIBUTIONS, lines_of_group

_PLUGIN = re.compile(r"(?P<module>[\w.]+)\s*(:\s*(?P<attr>[\w.]+))?\s*(\[.*\])?\s*\Z")

#: How often `importlib.invalidate_caches` is called at most, if other threads disturb it.
_TRIES = 10


class _Distribution(Protocol):
    """The part of a distribution that is used here; its type has another name in newer importlib_metadata."""

    @property
    def metadata(self) -> Any: ...
    @property
    def version(self) -> str: ...
    def read_text(self, filename: str, /) -> str | None: ...


@dataclass(frozen=True)
class Claim:
    """One entry point: a distribution's claim to a name.

    Args:
        name: The name claimed, of a backend or command.
        plugin: What the entry point names, a module or `module:attr`.
        distribution: The name of the distribution.
        version: Its version, None if the metadata has none, or there is none.
        defect: What is wrong with the claim or its distribution's metadata, None if nothing is.
    """

    name: str
    plugin: str
    distribution: str
    version: str | None
    defect: str | None = None


@dataclass(frozen=True)
class Scan:
    """The result of one scan of the installed distributions.

    Args:
        claims: Every claim, in the order of sys.path.
        unreadable: A phrase for each distribution whose entry points could not be read at all.
    """

    claims: tuple[Claim, ...] = ()
    unreadable: tuple[str, ...] = ()


def scan(group: str = GROUP) -> Scan:
    """Read the claims of all distributions on sys.path.

    Where one distribution is found several times, only the first on sys.path counts, as it does
    for imports; the ones behind it are shadowed.

    Args:
        group: The entry-point group, of backends or of commands.

    Returns:
        The claims and the distributions that could not be read. Never raises for their sake.

    Thread safety: may be called from any thread; nothing is shared.
    """
    _forget_directories()
    claims: list[Claim] = []
    unreadable: list[str] = []
    seen: set[str] = set()
    for distribution in _distributions():
        try:
            if group not in (distribution.read_text("entry_points.txt") or ""):
                continue
            name, version, defect = _identity(distribution)
            key = re.sub(r"[-_.]+", "-", name).lower()
            if key in seen:
                continue
            seen.add(key)
            if defect is None:
                distribution, version = _first_of_its_name(distribution, name, version)
            claims += _claims(distribution, group, name, version, defect)
        except Exception as error:  # whatever it is, it concerns this distribution alone
            unreadable.append(f"{_place(distribution)} ({describe_error(error)})")
    claimed = {claim.name for claim in claims}
    claims += (claim for claim in _without_metadata(group) if claim.name not in claimed)
    return Scan(tuple(claims), tuple(unreadable))


def _forget_directories() -> None:
    """Have folders read anew: a distribution that was installed a moment ago counts."""
    for _ in range(_TRIES):
        try:
            importlib.invalidate_caches()
            return
        except KeyError:  # another thread does the same: each deletes entries of one dictionary
            pass


def _without_metadata(group: str) -> Iterator[Claim]:
    """Yield claims of our distributions that can be imported without metadata: in a bundle, or on a bare PYTHONPATH."""
    packages = {name: distribution.replace("-", "_") for name, distribution in OWN_DISTRIBUTIONS.items()}
    own = {name: (OWN_DISTRIBUTIONS[name], f"{package}._plugin") for name, package in packages.items()}
    for name, (distribution, module) in (own if group == GROUP else OWN_COMMANDS).items():
        if find_spec(module.partition(".")[0]) is not None:
            yield Claim(name, module, distribution, None)


def _distributions() -> Iterator[_Distribution]:
    found = iter(importlib_metadata.distributions())
    while True:
        try:
            distribution = next(found)
        except StopIteration:
            return
        except Exception:  # a foreign finder failed: what is on sys.path counts all the same
            yield from importlib_metadata.MetadataPathFinder().find_distributions()
            return
        yield distribution


def _identity(distribution: _Distribution) -> tuple[str, str | None, str | None]:
    """Return the name, the version and, if the metadata lacks one of them, the defect."""
    try:
        name, version = map(distribution.metadata.get, ("Name", "Version"))
    except Exception as error:
        return _place(distribution), None, f"its metadata cannot be read ({describe_error(error)})"
    if not name or not version:
        missing = "version" if name else "name"
        return name or _place(distribution), version or None, f"its metadata has no {missing}"
    return name, version, None


def _first_of_its_name(distribution: _Distribution, name: str, version: str | None) -> tuple[_Distribution, str | None]:
    """Return the distribution that imports see: a first one without our group shadows this one too."""
    try:
        first = importlib_metadata.distribution(name)
        return first, first.version
    except Exception:  # found under another name than its own, say: no other one can shadow it
        return distribution, version


def _claims(
    distribution: _Distribution, group: str, name: str, version: str | None, defect: str | None
) -> Iterator[Claim]:
    for line in lines_of_group(distribution.read_text("entry_points.txt") or "", group):
        key, equals, value = (part.strip() for part in line.partition("="))
        match = _PLUGIN.match(value)
        if not (key and equals and match):
            yield Claim(key or line, value, name, version, f"its entry point {line!r} is not 'name = module'")
            continue
        plugin = match["module"] + (f":{match['attr']}" if match["attr"] else "")
        yield Claim(key, plugin, name, version, defect)


def _place(distribution: _Distribution) -> str:
    """Return a name for a distribution whose metadata has none: that of the metadata's folder."""
    folder = getattr(distribution, "_path", None)  # private, and good enough for a message
    return getattr(folder, "name", None) or "a distribution without a name"
