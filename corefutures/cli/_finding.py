"""The commands: the core's own one, `backends`, and those that installed distributions declare.

Found like backends, from metadata alone. Guarantees: listing runs no code of a command, not even for its summary;
a command that is broken, claimed twice or slow to import affects only itself; failures are not remembered.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from corefutures._error_text import describe_error
from corefutures.registry._description import BackendStatus
from corefutures.registry._known import OWN_COMMANDS
from corefutures.registry._messages import closest, how_to_install, not_usable
from corefutures.registry._registry import claimed_status

if TYPE_CHECKING:
    from corefutures.registry._discovery import Scan

#: The entry-point group; its keys are names of commands, its values modules.
GROUP: Final = "corefutures.commands"

#: The core's own; nobody else can claim its name.
_BUILT_IN: Final = {"backends": "corefutures.cli._backends"}


class CommandError(Exception):
    """There is no such command, or it cannot be used; the text says why in one sentence."""


@dataclass(frozen=True)
class Command:
    """A command that can be chosen.

    Args:
        status: Its name, its distribution, and whether anything in the metadata speaks against it.
        module: Where its `main()` is.
    """

    status: BackendStatus
    module: str

    @property
    def name(self) -> str:
        """The word that chooses it."""
        return self.status.name

    @property
    def summary(self) -> str:
        """The first line of the module's docstring, which is read without running the module; or the defect."""
        if self.status.state != "installed":
            return f"({self.status.state}: {self.status.reason})"
        try:
            return _first_line(self.module)
        except Exception:  # no source here, or one that is no Python
            return ""

    def load(self) -> Any:
        """Import its module.

        Returns:
            The module; its `main` can be called.

        Raises:
            CommandError: If it is broken or claimed twice.
        """
        if self.status.state != "installed":
            raise CommandError(not_usable("command", self.status))
        try:
            module = import_module(self.module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too
            raise self.broken(f"loading {self.module} failed: {describe_error(error)}") from error
        if not callable(getattr(module, "main", None)):
            raise self.broken(f"{self.module} has no main()")
        return module

    def broken(self, reason: str) -> CommandError:
        """Return the error for a defect that was found when the command was used."""
        return CommandError(not_usable("command", replace(self.status, state="broken", reason=reason)))


def commands() -> dict[str, Command]:
    """Return every command by name, from metadata alone."""
    return _commands(_scan())


def find_command(name: str) -> Command:
    """Find a command.

    Args:
        name: The word that chooses it.

    Raises:
        CommandError: If there is none of that name; it says what to install, or which one may be meant.
    """
    if name in _BUILT_IN:
        return Command(BackendStatus(name, "installed", "corefutures"), _BUILT_IN[name])
    scan = _scan()
    known = _commands(scan)
    return known[name] if name in known else _not_found(name, known, scan.unreadable)


def _scan() -> Scan:
    from corefutures.registry._discovery import scan  # here for start-up time: importlib_metadata costs most of it

    return scan(GROUP)


def _commands(scan: Scan) -> dict[str, Command]:
    found: dict[str, Command] = {}
    for claim in scan.claims:
        if claim.name not in found:
            status = claimed_status([each for each in scan.claims if each.name == claim.name], "command")
            if status.state == "installed" and ":" in claim.plugin:
                reason = f"its entry point names {claim.plugin}, and a command is a module"
                status = replace(status, state="broken", reason=reason)
            found[claim.name] = Command(status, claim.plugin)
    for name, module in _BUILT_IN.items():
        found[name] = Command(BackendStatus(name, "installed", "corefutures"), module)
    return dict(sorted(found.items()))


def _not_found(name: str, known: Mapping[str, Command], unreadable: tuple[str, ...]) -> Command:
    missing = {own: distribution for own, (distribution, _) in OWN_COMMANDS.items() if own not in known}
    sentence = f"there is no command {name!r}"
    meant = name if name in missing else closest(name, [*known, *missing])
    if meant != name and meant is not None:
        sentence += f"; did you mean {meant!r}?"
    if meant in missing:
        came = "it comes" if meant == name else "That one comes"
        sentence += f"{':' if meant == name else ''} {came} with {missing[meant]}, which is not installed; "
        sentence += how_to_install(missing[meant])
    sentence += f" (the commands are {', '.join(known)})"
    if unreadable:
        sentence += f"; entry points that could not be read: {', '.join(unreadable)}"
    raise CommandError(sentence)


def _first_line(module: str) -> str:
    """Return the first line of a module's docstring; neither the module nor a package around it is imported."""
    name, *parts = module.split(".")
    path = None
    for part in parts:
        path = next(filter(None, (each.submodule_search_locations for each in _specifications(name, path))))
        name += f".{part}"
    loaders = (specification.loader for specification in _specifications(name, path))
    source = next(loader.get_source(name) for loader in loaders if hasattr(loader, "get_source"))
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].rstrip(" .")


def _specifications(name: str, path: Any) -> Iterator[Any]:
    """Yield the specifications that finders have of a module; a package's is known by its parent's `path`."""
    return filter(None, (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec")))
