"""The program of a child process that imports one module, in its main interpreter or in a fresh one, and reports.

Run by its path with the Python that is looked into: it touches the standard library alone, and imports little before
the module. The report is a JSON file; a crash leaves none, or one that says how far the import came.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Texts in the errors of extension modules that can't be loaded in a second interpreter.
REFUSALS = (
    "subinterpreter", "sub-interpreter", "more than once per process", "one interpreter per process",
    "once per interpreter process",
)  # fmt: skip


def look(name: str) -> dict[str, object]:
    """Import a module, and return what came of it: values for JSON."""
    import _imp
    import builtins

    refused: dict[str, str] = {}
    failed: dict[str, str] = {}

    def recording(load: Any) -> Any:
        def loads(module: Any, *rest: Any) -> Any:
            try:
                return load(module, *rest)
            except ImportError as error:
                if any(text in str(error) for text in REFUSALS):
                    refused[str(getattr(module, "name", None) or module.__name__)] = str(error)
                raise

        return loads

    for function in ("create_builtin", "create_dynamic", "exec_dynamic"):
        setattr(_imp, function, recording(getattr(_imp, function)))
    original = builtins.__import__

    def importing(wanted: str, namespace: Any = None, local: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        try:
            return original(wanted, namespace, local, fromlist or (), level)
        except ImportError as error:
            failed[str(error.name or wanted)] = str(error)
            raise

    builtins.__import__ = importing  # type: ignore[assignment]
    found: dict[str, object] = {"error": None, "kind": None, "name": None, "types": {}, "warnings": []}
    try:
        import importlib
        import warnings

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module = importlib.import_module(name)
        found["warnings"] = [str(warning.message) for warning in caught]
        found["types"] = {
            each: type(value).__name__ for each, value in vars(module).items() if not each.startswith("_")
        }
    except BaseException as error:  # SystemExit of a script as well
        found["kind"], found["name"] = type(error).__name__, getattr(error, "name", None)
        found["error"] = str(error) or type(error).__name__
    finally:
        builtins.__import__ = original
    extensions = []
    for loaded, module in list(sys.modules.items()):
        loader = getattr(getattr(module, "__spec__", None), "loader", None)
        if type(loader).__name__ == "ExtensionFileLoader":
            extensions.append(loaded)
    return {**found, "refused": refused, "failed": failed, "extensions": sorted(extensions)}


def modules_in(files: list[str]) -> list[str]:
    """Return the packages and modules among the files of a distribution that are in no other package."""
    from importlib.machinery import EXTENSION_SUFFIXES

    packages, modules = set(), set()
    for file in files:
        *folders, last = file.replace("\\", "/").split("/")
        for ending in [*EXTENSION_SUFFIXES, ".py"]:
            if last.endswith(ending) and all(part.isidentifier() for part in folders):
                stem = last[: -len(ending)]
                if stem == "__init__":
                    packages.add(".".join(folders))
                elif stem.isidentifier():
                    modules.add(".".join([*folders, stem]))
                break
    packages.discard("")

    def is_outer(name: str) -> bool:
        parts = name.split(".")[:-1]
        return not any(".".join(parts[: end + 1]) in packages for end in range(len(parts)))

    return [name for name in packages | modules if is_outer(name) and name != "__editable__"]


def report(name: str, path: list[str], file: str) -> None:
    """Import a module in this interpreter, and write the report."""
    sys.path[:] = path
    found = look(name)
    import json

    with open(file, "w", encoding="utf-8") as output:
        json.dump(found, output)


def describe(names: tuple[str, ...], file: str) -> None:
    """Write where modules and distributions come from: the version of Python, and for each name what is known."""
    import json
    from importlib import metadata
    from importlib.util import find_spec

    tops = metadata.packages_distributions()
    distributions = {}
    for name in names:
        try:
            found = metadata.distribution(name)
        except (metadata.PackageNotFoundError, ValueError):
            continue
        own = modules_in([str(file) for file in found.files or ()])
        if not own:  # nothing is known of its files
            own = [top for top, owners in tops.items() if found.metadata["Name"] in owners and top.isidentifier()]
        distributions[name] = {"version": found.version, "modules": sorted(own)}
    modules = {}
    for name in names:
        owners = tops.get(name.partition(".")[0], ())
        if owners:
            modules[name] = [f"{owner} {metadata.version(owner)}" for owner in sorted(set(owners))]
    version = "{}.{}.{}".format(*sys.version_info)
    with open(file, "w", encoding="utf-8") as output:
        json.dump(
            {
                "python": version,
                "interpreters": find_spec("concurrent.interpreters") is not None,
                "distributions": distributions,
                "modules": modules,
            },
            output,
        )


def main(where: str, file: str, folder: str, *names: str) -> None:
    """Do what the words of the command line say, and leave at once."""
    import os

    own = os.path.dirname(os.path.abspath(__file__))
    path = [folder, *(place for place in sys.path if os.path.abspath(place) != own)]
    if where == "describe":
        describe(names, file)
    elif where == "main":
        report(names[0], path, file)
    else:
        from importlib import import_module

        interpreter: Any = import_module("concurrent.interpreters").create()
        with open(__file__, encoding="utf-8") as source:
            interpreter.exec(source.read().rpartition("\nif __name__")[0])
        interpreter.prepare_main(arguments=(names[0], tuple(path), file))
        interpreter.exec("report(arguments[0], list(arguments[1]), arguments[2])")
        interpreter.close()  # as a pool does at its end
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
