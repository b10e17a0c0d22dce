"""From a name to a loaded `Backend`, and from there to an executor; the states of backends.

The only user of pluggy's PluginManager. Guarantees: listing imports no plugin; one bad plugin
affects only itself; no lock is held while foreign code runs; failures are not remembered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from corefutures._blocking import Lock
from corefutures._error_text import describe_error
from corefutures._exceptions import (
    BackendBrokenError,
    BackendConflictError,
    BackendDisabledError,
    BackendError,
    BackendNotFoundError,
    BackendUnavailableError,
)
from corefutures._options import check_flag, shown
from corefutures.registry import _messages
from corefutures.registry._description import CONTRACT, Backend, BackendStatus, State, is_name
from corefutures.registry._known import (
    DISABLE_VARIABLE,
    FIRST_PYTHON,
    OWN_CAPABILITIES,
    OWN_DISTRIBUTIONS,
    disabled_names,
    found_classes,
)
from corefutures.registry._messages import with_article
from corefutures.registry._targets import load_target, target_factory

if TYPE_CHECKING:
    from corefutures._executor import Executor
    from corefutures.registry._discovery import Claim, Scan

_ERRORS: Final[Mapping[State, type[BackendError]]] = {
    "unavailable": BackendUnavailableError,
    "broken": BackendBrokenError,
    "conflicting": BackendConflictError,
    "disabled": BackendDisabledError,
}


class _Loaded(NamedTuple):
    backend: Backend
    claim: Claim | None  # None: registered by hand


class _Resolution(NamedTuple):
    """Whether a backend can be used: its status, and the backend if it can."""

    status: BackendStatus
    backend: Backend | None = None  # set exactly if the state is "available"
    cause: BaseException | None = None


class Registry:
    """Backends by name.

    Args:
        scan: Finds the claims of installed distributions; `_discovery.scan` if not given.

    Thread safety: every method may be called from any thread. Two threads that want the same
    backend may both load it; both get the object that was stored first.
    """

    def __init__(self, scan: Callable[[], Scan] | None = None) -> None:
        self._scan = scan or _scan_installed
        # Guards the two tables below where both are changed. Nothing is called under it, see `Lock`. Every other
        # operation on a table is atomic.
        self._lock = Lock()
        self._loaded: dict[str, _Loaded] = {}
        self._usable: set[str] = set()  # names of those that were available at least once

    def statuses(self) -> Mapping[str, BackendStatus]:
        """Return every installed or registered backend, from metadata alone.

        Returns:
            A read-only mapping from name to status, in the order of the names.
        """
        found: dict[str, list[Claim]] = {}
        for claim in self._scan().claims:
            found.setdefault(claim.name, []).append(claim)
        disabled = disabled_names()
        loaded = self._loaded.copy()
        usable = self._usable.copy()
        statuses = {}
        for name in sorted({*found, *loaded}):
            known = name in loaded
            status = _known_status(loaded[name], name in usable) if known else claimed_status(found[name])
            if name in found_classes and status.state == "installed" and not self.decides(name):
                status = replace(status, state="available")
            if name in disabled:
                status = replace(status, state="disabled", reason=f"{DISABLE_VARIABLE} names it")
            statuses[name] = status
        return MappingProxyType(statuses)

    def check(self, name: str) -> BackendStatus:
        """Return the state of a backend after loading it and its factory.

        Args:
            name: The backend's name.

        Returns:
            Its status; never `installed`.

        Raises:
            BackendNotFoundError: If there is no backend of that name.
        """
        resolution = self._resolve(name)
        if resolution.backend is None:
            return resolution.status
        try:
            _factory_of(resolution.backend)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return replace(resolution.status, state="broken", reason=_factory_reason(resolution.backend, error))
        return resolution.status

    def get(self, name: str) -> Backend:
        """Return the backend of that name, loaded and able to run here; see `get_backend`."""
        resolution = self._resolve(name)
        if resolution.backend is None:
            _refuse(resolution.status, resolution.cause)
        return resolution.backend

    def register(self, backend: Backend, *, replace: bool = False) -> None:
        """Add a backend that no distribution brings; see `register_backend`."""
        if not isinstance(backend, Backend):
            raise TypeError(f"register_backend() takes a Backend, not {shown(backend)}")
        check_flag("replace", replace)
        claims = [] if replace else [claim for claim in self._scan().claims if claim.name == backend.name]
        name, loaded, taken = backend.name, _Loaded(backend, None), bool(claims)
        unusable = {name}
        if self._lock.taken:
            if not replace and name in self._loaded:
                taken = True
            elif not taken:
                self._loaded[name] = loaded
                self._usable -= unusable
            self._lock.release()
        if taken:
            owner = _messages.owner(claims[0]) if claims else "registered before"
            raise BackendConflictError(
                f"backend {backend.name!r} cannot be registered: the name is taken ({owner}); "
                "choose another name, or pass replace=True"
            )

    def create(self, name: str, options: Mapping[str, Any]) -> Executor:
        """Make an executor of a backend or target; see `create_executor`."""
        if not isinstance(name, str):
            raise TypeError(_messages.no_name(name))
        factory = target_factory(name) if ":" in name else self.factory(name)
        try:
            executor = factory(**options)
        except TypeError:
            _messages.check_options(name, factory, options)
            raise
        missing = [verb for verb in ("submit", "map", "shutdown") if not callable(getattr(executor, verb, None))]
        if missing:
            raise TypeError(
                f"create_executor({name!r}): the factory returned {with_article(type(executor).__name__)}, "
                f"which is no executor: it has no {missing[0]}()"
            )
        return executor  # type: ignore[no-any-return]

    def factory(self, name: str) -> Callable[..., Any]:
        """Return the callable that makes a backend's executors, imported if the backend gives it as text.

        Args:
            name: The backend's name.

        Raises:
            BackendError: If the backend cannot be used or its factory cannot be imported.
        """
        backend = self.get(name)
        try:
            return _factory_of(backend)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            status = _known_status(self._loaded[name], usable=True)
            _refuse(replace(status, state="broken", reason=_factory_reason(backend, error)), error)

    def pool_class(self, name: str) -> type:
        """Return the class that makes a backend's executors; raise BackendError if there is none."""
        found = self.factory(name)
        if not isinstance(found, type):
            raise BackendBrokenError(
                f"backend {name!r} brings no pool class: its factory is {with_article(type(found).__name__)}; "
                f"use create_executor({name!r})"
            )
        return found

    def decides(self, name: str) -> bool:
        """Return whether more than installed distributions says what the name is: it was registered by hand, say."""
        loaded = self._loaded.get(name)
        return self._scan is not _scan_installed or (loaded is not None and loaded.claim is None)

    def loaded_names(self) -> list[str]:
        """Return the names of the backends that are loaded or registered by hand."""
        return list(self._loaded.copy())

    def _resolve(self, name: str) -> _Resolution:
        if not isinstance(name, str):
            raise TypeError(_messages.no_name(name))
        loaded = self._loaded.get(name)
        if loaded is None:
            scan = self._scan()
            claims = [claim for claim in scan.claims if claim.name == name]
            if not claims:
                installed = sorted({*self._loaded.copy(), *(claim.name for claim in scan.claims)})
                raise BackendNotFoundError(_messages.not_found(name, installed, scan.unreadable))
            status = claimed_status(claims)
            if name in disabled_names():
                return _disabled(status)
            if status.state != "installed":
                return _Resolution(status)
            try:
                backend = _load(claims[0])
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # SystemExit and a test framework's Skipped too
                reason = f"loading {claims[0].plugin} failed: {describe_error(error)}"
                return _Resolution(replace(status, state="broken", reason=reason), None, error)
            loaded = self._loaded.setdefault(name, _Loaded(backend, claims[0]))
        status = _known_status(loaded, usable=False)
        if name in disabled_names():
            return _disabled(status)
        resolution = _ask_whether_available(status, loaded.backend)
        if resolution.backend is not None:
            self._usable.add(name)
        return resolution


def _scan_installed() -> Scan:
    from corefutures.registry._discovery import scan  # here for start-up time: importlib_metadata costs most of it

    return scan()


def claimed_status(claims: list[Claim], kind: str = "backend") -> BackendStatus:
    """Return the status of a name from its claims alone; `kind` is what the name is for."""
    first = claims[0]
    status = BackendStatus(first.name, "installed", first.distribution, first.version)
    if len(claims) > 1:
        owners = " and ".join(_messages.owner(claim) for claim in claims)
        return replace(status, state="conflicting", reason=f"it is claimed by {owners}")
    if first.defect is not None:
        return replace(status, state="broken", reason=first.defect)
    if not is_name(first.name):
        return replace(status, state="broken", reason=f"{first.name!r} cannot be the name of a {kind}")
    return status


def _known_status(loaded: _Loaded, usable: bool) -> BackendStatus:
    """Return the status of a loaded backend, without a call of its code."""
    backend, claim = loaded
    status = BackendStatus(backend.name, "available")
    if claim is not None:
        status = replace(status, distribution=claim.distribution, version=claim.version)
    reason = backend.unavailable_reason
    if isinstance(reason, str):
        return replace(status, state="unavailable", reason=reason)
    if reason is not None and not usable:
        return replace(status, state="installed")
    return status


def _disabled(status: BackendStatus) -> _Resolution:
    return _Resolution(replace(status, state="disabled", reason=f"{DISABLE_VARIABLE} names it"))


def _ask_whether_available(status: BackendStatus, backend: Backend) -> _Resolution:
    contract = backend.contract
    if contract is not None and (contract[0] != CONTRACT[0] or contract > CONTRACT):
        older = "the backend" if contract < CONTRACT else "corefutures"
        reason = "it was made for contract {}.{}, and this corefutures has {}.{}".format(*contract, *CONTRACT)
        return _Resolution(replace(status, state="unavailable", reason=f"{reason}: upgrade {older}"))
    reason_or_callable = backend.unavailable_reason
    try:
        answer: object = reason_or_callable() if callable(reason_or_callable) else reason_or_callable
    except Exception as error:
        reason = f"asking it whether it can run here raised {describe_error(error)}"
        return _Resolution(replace(status, state="broken", reason=reason), None, error)
    if answer is None:
        return _Resolution(replace(status, state="available", reason=None), backend)
    if not isinstance(answer, str):
        reason = f"its unavailable_reason returned {with_article(type(answer).__name__)}, not a str or None"
        return _Resolution(replace(status, state="broken", reason=reason))
    return _Resolution(replace(status, state="unavailable", reason=answer))


def _load(claim: Claim) -> Backend:
    """Import the one plugin of a claim and call its hook.

    Each load has a plugin manager of its own: no other plugin's hook is called, a failure leaves nothing behind, and
    threads that load at the same time share nothing.
    """
    import pluggy  # here for start-up time, as the next one, which imports pluggy too

    from corefutures._instrumentation import PROJECT
    from corefutures.registry._hook import HookSpecification

    plugin = load_target(claim.plugin) if ":" in claim.plugin else import_module(claim.plugin)
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(HookSpecification)
    plugins.register(plugin, name=f"{claim.distribution}:{claim.name}")
    plugins.check_pending()
    answers = plugins.hook.corefutures_backend()
    if not answers:
        raise TypeError(f"{claim.plugin} implements no hook corefutures_backend (is @hookimpl missing?)")
    backend = answers[0]
    if not isinstance(backend, Backend):
        raise TypeError(f"its hook returned {with_article(type(backend).__name__)}, not a Backend")
    if backend.name != claim.name:
        raise ValueError(f"its hook describes a backend {backend.name!r}, its entry point is {claim.name!r}")
    return backend


def _factory_of(backend: Backend) -> Callable[..., Any]:
    factory = backend.factory
    if isinstance(factory, str):
        factory = load_target(factory)
        if not callable(factory):
            raise TypeError(f"it is {with_article(type(factory).__name__)}, which cannot be called")
    return factory


def _factory_reason(backend: Backend, error: BaseException) -> str:
    return f"its factory {backend.factory} cannot be loaded: {describe_error(error)}"


def _refuse(status: BackendStatus, cause: BaseException | None) -> NoReturn:
    """Raise the error of a state."""
    raise _ERRORS[status.state](_messages.not_usable("backend", status)) from cause


REGISTRY: Final = Registry()


def _after_fork_in_child() -> None:
    REGISTRY._lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def backends() -> Mapping[str, BackendStatus]:
    """List the backends that are installed or registered, without importing any.

    Returns:
        A read-only mapping from name to `BackendStatus`.

    Thread safety: may be called from any thread.
    """
    return REGISTRY.statuses()


def get_backend(name: str) -> Backend:
    """Load the description of a backend.

    Args:
        name: The backend's name.

    Returns:
        Its description.

    Raises:
        BackendError: One of its subclasses, as for `create_executor`.
        TypeError: If the name is not a str.

    Thread safety: may be called from any thread. No lock is held while a plugin is imported.
    """
    return REGISTRY.get(name)


def register_backend(backend: Backend, *, replace: bool = False) -> None:
    """Add a backend that no distribution brings, for the life of this process.

    Args:
        backend: Its description.
        replace: Whether it may take the place of another one of the same name.

    Raises:
        TypeError: If it is not a `Backend`.
        BackendConflictError: If the name is taken and `replace` is false.

    Thread safety: may be called from any thread.
    """
    REGISTRY.register(backend, replace=replace)


def installed_backend_names() -> list[str]:
    """Return the backends that are installed and not known to fail here, from metadata alone."""
    return [
        name
        for name, status in backends().items()
        if status.state in ("installed", "available") and sys.version_info >= FIRST_PYTHON.get(name, (3,))
    ]


def backend_with(capability: str) -> str | None:
    """Return the name of an installed backend that declares a capability: a loaded one if there is, our own first.

    Args:
        capability: The name of an attribute of `Capabilities`.

    Returns:
        The name; where no installed backend has the capability, that of ours which does, if there is one.
    """
    order = list(OWN_DISTRIBUTIONS)
    for list_names in (REGISTRY.loaded_names, installed_backend_names):
        names = list_names()
        for name in sorted(names, key=lambda name: order.index(name) if name in order else len(order)):
            try:
                declared = REGISTRY.get(name).capabilities
            except BackendError:
                continue
            if getattr(declared, capability):
                return name
    return OWN_CAPABILITIES.get(capability)
