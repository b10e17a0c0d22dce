"""The users' door of corefutures: names only, those of `concurrent.futures` and the registry of backends.

`import corefutures as futures` is a drop-in for `from concurrent import futures`. Everything is imported when it is
first asked for (R3): a worker that imports this file pays for nothing, and starts in half the time.
Type checkers read `__init__.pyi` in its place.
"""

from __future__ import annotations

__version__ = "0.1.0"

#: The core's own names, and the modules that define them.
_HOMES = {
    name: module
    for module, names in {
        "_blocking": ("cancel_requested",),
        "_exceptions": (
            "BackendBrokenError", "BackendConflictError", "BackendDisabledError", "BackendError",
            "BackendNotFoundError", "BackendUnavailableError", "BrokenExecutor", "CancelledError", "DeadlockError",
            "InvalidStateError", "PoolFullError", "TimeoutError", "UnsupportedError", "WorkerLostError",
        ),
        "_executor": ("Executor",),
        "_future": ("Future",),
        "_observers": ("add_observer", "remove_observer"),
        "_wait": ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "as_completed", "wait"),
        "registry._creation": ("create_executor",),
        "registry._description": ("BackendStatus",),
        "registry._registry": ("backends", "get_backend", "register_backend"),
    }.items()
    for name in names
}  # fmt: skip
#: The names that other distributions add to this door, and their modules.
_FORWARDED = {
    name: module
    for module, names in {
        "corefutures_monitor": ("instrument", "profile", "progress", "trace", "track"),
        "corefutures_pools": (
            "CallSnapshot", "Shared", "Snapshot", "Stats", "Stream", "WorkerLocal", "WorkerSnapshot", "adapt", "dump",
            "dump_on_signal", "held_slots", "worker_local",
        ),
        "corefutures_structured": (
            "completions", "default_executor", "imap", "retrying", "scope", "time_left", "use",
        ),
        "corefutures_tools": ("Comparison", "Trial", "compare"),
    }.items()
    for name in names
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module  # here for start-up time only, as are the others

        value: object = getattr(import_module(f"corefutures.{_HOMES[name]}"), name)
    elif name in _FORWARDED:
        value = _forwarded(name)
    elif name == "__all__":  # lists installed pools only: metadata alone decides (R1)
        return [*_HOMES, *_installed_names()]
    else:
        if not name.startswith("_"):
            from importlib import import_module

            from corefutures.registry._known import OWN_CLASSES

            for backend, class_name in OWN_CLASSES.items():
                if name == class_name:  # not kept: what is installed or registered may change (R4)
                    return import_module("corefutures.registry._creation").pool_class(backend)
                if name == backend:  # the submodule of `concurrent.futures` with its exceptions
                    return import_module(f"corefutures.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_HOMES, *_installed_names()})


def _forwarded(name: str) -> object:
    from importlib import import_module

    module = _FORWARDED[name]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        from corefutures.registry._messages import how_to_install

        distribution = module.replace("_", "-")
        text = f"corefutures.{name} comes with the distribution {distribution}, which is not installed; "
        raise ModuleNotFoundError(text + how_to_install(distribution), name=module) from None


def _installed_names() -> list[str]:
    """Return the names of this door that are not the core's own, as far as their distributions are installed."""
    from importlib.util import find_spec

    from corefutures.registry._known import OWN_CLASSES
    from corefutures.registry._registry import installed_backend_names

    backends = installed_backend_names()
    modules = {module for module in set(_FORWARDED.values()) if find_spec(module) is not None}
    pools = [pool for backend, pool in OWN_CLASSES.items() if backend in backends]
    return [*pools, *(name for name, module in _FORWARDED.items() if module in modules)]
