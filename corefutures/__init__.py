"""The users' door of corefutures: names only, those of `concurrent.futures` and the registry of backends.

`import corefutures as futures` is a drop-in for `from concurrent import futures`. Everything is imported when it is
first asked for (R3): a worker that passes through this file pays for nothing, and starts in half the time.
Type checkers read `__init__.pyi` in its place.
"""

from __future__ import annotations

__version__ = "0.1.0"

_HOMES = {
    "ALL_COMPLETED": "_wait",
    "FIRST_COMPLETED": "_wait",
    "FIRST_EXCEPTION": "_wait",
    "BackendBrokenError": "_exceptions",
    "BackendConflictError": "_exceptions",
    "BackendDisabledError": "_exceptions",
    "BackendError": "_exceptions",
    "BackendNotFoundError": "_exceptions",
    "BackendStatus": "registry._description",
    "BackendUnavailableError": "_exceptions",
    "BrokenExecutor": "_exceptions",
    "CancelledError": "_exceptions",
    "DeadlockError": "_exceptions",
    "Executor": "_executor",
    "Future": "_future",
    "InvalidStateError": "_exceptions",
    "TimeoutError": "_exceptions",
    "PoolFullError": "_exceptions",
    "UnsupportedError": "_exceptions",
    "WorkerLostError": "_exceptions",
    "add_observer": "_observers",
    "as_completed": "_wait",
    "backends": "registry._registry",
    "cancel_requested": "_blocking",
    "create_executor": "registry._creation",
    "get_backend": "registry._registry",
    "register_backend": "registry._registry",
    "remove_observer": "_observers",
    "wait": "_wait",
}
#: What other distributions add to this door: name → (module, distribution).
_FORWARDED = {
    **dict.fromkeys(
        ("completions", "default_executor", "imap", "retrying", "scope", "time_left", "use"),
        ("corefutures_structured", "corefutures-structured"),
    ),
    "Stats": ("corefutures_pools", "corefutures-pools"),
    "adapt": ("corefutures_pools", "corefutures-pools"),
    **dict.fromkeys(
        ("CallSnapshot", "Snapshot", "WorkerSnapshot", "dump", "dump_on_signal"),
        ("corefutures_pools", "corefutures-pools"),
    ),
    **dict.fromkeys(("instrument", "progress", "trace", "track"), ("corefutures_monitor", "corefutures-monitor")),
    **dict.fromkeys(("Comparison", "Trial", "compare"), ("corefutures_tools", "corefutures-tools")),
}
_POOLS = {
    "ThreadPoolExecutor": "thread",
    "ProcessPoolExecutor": "process",
    "InterpreterPoolExecutor": "interpreter",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module  # here for start-up time only

        value: object = getattr(import_module(f"corefutures.{_HOMES[name]}"), name)
    elif name in _POOLS.values():  # a submodule of `concurrent.futures`, whose exceptions handlers name
        from importlib import import_module

        return import_module(f"corefutures.{name}")
    elif name in _FORWARDED:
        value = _forwarded(name)
    elif name in _POOLS:
        from corefutures.registry._creation import pool_class  # here for start-up time only

        return pool_class(_POOLS[name])  # not kept: what is installed or registered may change (R4)
    elif name == "__all__":  # lists installed pools only: metadata alone decides (R1)
        return [*_HOMES, *_installed_names()]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_HOMES, *_installed_names()})


def _forwarded(name: str) -> object:
    from importlib import import_module  # here for start-up time only

    module, distribution = _FORWARDED[name]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        from corefutures.registry._messages import how_to_install

        text = f"corefutures.{name} comes with the distribution {distribution}, which is not installed; "
        text += how_to_install(distribution)
        raise ModuleNotFoundError(text, name=module) from None


def _installed_names() -> list[str]:
    """Return the names of this door that are not the core's own, as far as their distributions are installed."""
    from importlib.util import find_spec  # here for start-up time only

    from corefutures.registry._registry import installed_backend_names

    backends = installed_backend_names()
    modules = {module for module, _ in _FORWARDED.values() if find_spec(module) is not None}
    pools = [pool for pool, backend in _POOLS.items() if backend in backends]
    return [*pools, *(name for name, (module, _) in _FORWARDED.items() if module in modules)]
