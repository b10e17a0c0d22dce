"""From a name to a loaded `Backend`, and from there to an executor; the states of backends.

The only user of pluggy's PluginManager. Guarantees: listing imports no plugin; one bad plugin
affects only itself; no lock is held while foreign code runs; failures are not remembered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, TypeAlias

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
from corefutures.registry._description import CONTRACT, Backend, is_name, is_target
from corefutures.registry._known import DISABLE_VARIABLE, OWN_DISTRIBUTIONS, disabled_names, found as found_directly

if TYPE_CHECKING:
    from corefutures._executor import Executor
    from corefutures.registry._discovery import Claim, Scan

State: TypeAlias = Literal["installed", "available", "unavailable", "broken", "conflicting", "disabled"]

#: Own backends that older Pythons cannot run, whatever is installed.
_FIRST_PYTHON: Final = {"interpreter": (3, 14)}


@dataclass(frozen=True)
class BackendStatus:
    """The state of one backend.

    Args:
        name: The backend's name.
        state: `installed` (listed, not loaded yet), `available`, `unavailable` (cannot run here),
            `broken` (its metadata, import or hook failed), `conflicting` (several distributions
            claim the name) or `disabled` (by COREFUTURES_DISABLE).
        distribution: The distribution that brings it; None for one that was registered by hand.
        version: The distribution's version.
        reason: Why it is not available, None if it is or may be.
    """

    name: str
    state: State
    distribution: str | None = None
    version: str | None = None
    reason: str | None = None


_ERRORS: Final[Mapping[State, type[BackendError]]] = {
    "unavailable": BackendUnavailableError,
    "broken": BackendBrokenError,
    "conflicting": BackendConflictError,
    "disabled": BackendDisabledError,
}


class _Loaded(NamedTuple):
    backend: Backend
    claim: Claim | None  # None: registered by hand


class _Finding(NamedTuple):
    """The answer to the question whether a backend can be used."""

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
        # Guards the two tables below where both are changed. Nothing is called under it, see `Lock`; any other
        # operation on one of them is one step.
        self._lock = Lock()
        self._loaded: dict[str, _Loaded] = {}
        self._proven: set[str] = set()  # names found available at least once

    def statuses(self) -> Mapping[str, BackendStatus]:
        """Every installed or registered backend, from metadata alone.

        Returns:
            A read-only mapping from name to status, in the order of the names.
        """
        found: dict[str, list[Claim]] = {}
        for claim in self._scan().claims:
            found.setdefault(claim.name, []).append(claim)
        disabled = disabled_names()
        loaded = self._loaded.copy()
        proven = self._proven.copy()
        statuses = {}
        for name in sorted({*found, *loaded}):
            known = name in loaded
            status = _known_status(loaded[name], name in proven) if known else claimed_status(found[name])
            if name in found_directly and status.state == "installed" and not self.decides(name):
                status = replace(status, state="available")
            if name in disabled:
                status = replace(status, state="disabled", reason=f"{DISABLE_VARIABLE} names it")
            statuses[name] = status
        return MappingProxyType(statuses)

    def check(self, name: str) -> BackendStatus:
        """The state of a backend after really trying to load it and its factory.

        Args:
            name: The backend's name.

        Returns:
            Its status; never `installed`.

        Raises:
            BackendNotFoundError: If there is no backend of that name.
        """
        finding = self._examine(name)
        if finding.backend is None:
            return finding.status
        try:
            _factory_of(finding.backend)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return replace(finding.status, state="broken", reason=_factory_reason(finding.backend, error))
        return finding.status

    def get(self, name: str) -> Backend:
        """The backend of that name, loaded and able to run here.

        Args:
            name: The backend's name.

        Returns:
            Its description.

        Raises:
            BackendError: One of its subclasses, according to the state.
            TypeError: If the name is not a str.
        """
        finding = self._examine(name)
        if finding.backend is None:
            _refuse(finding.status, finding.cause)
        return finding.backend

    def register(self, backend: Backend, *, replace: bool = False) -> None:
        """Add a backend that no distribution brings.

        Args:
            backend: Its description.
            replace: Whether it may take the place of another one of the same name.

        Raises:
            TypeError: If it is not a `Backend`.
            BackendConflictError: If the name is taken and `replace` is false.
        """
        if not isinstance(backend, Backend):
            raise TypeError(f"register_backend() takes a Backend, not {shown(backend)}")
        check_flag("replace", replace)
        claims = [] if replace else [claim for claim in self._scan().claims if claim.name == backend.name]
        name, loaded, taken = backend.name, _Loaded(backend, None), bool(claims)
        unproven = {name}
        if self._lock.taken:
            if not replace and name in self._loaded:
                taken = True
            elif not taken:
                self._loaded[name] = loaded
                self._proven -= unproven
            self._lock.release()
        if taken:
            owner = _owner(claims[0]) if claims else "registered before"
            raise BackendConflictError(
                f"backend {backend.name!r} cannot be registered: the name is taken ({owner}); "
                "choose another name, or pass replace=True"
            )

    def create(self, name: str, options: Mapping[str, Any]) -> Executor:
        """Make an executor.

        Args:
            name: A backend's name or a target `package.module:attr`.
            options: The keyword arguments of the factory.

        Returns:
            The executor that the factory returned.

        Raises:
            BackendError: If there is no such backend or target, or it cannot be used.
            TypeError: If an option is unknown, or the name is not a str.
            ValueError: If a target is malformed.
        """
        if not isinstance(name, str):
            raise TypeError(_no_name(name))
        factory = _target_factory(name) if ":" in name else self.factory(name)
        try:
            executor = factory(**options)
        except TypeError:
            check_options(name, factory, options)
            raise
        missing = [verb for verb in ("submit", "map", "shutdown") if not callable(getattr(executor, verb, None))]
        if missing:
            raise TypeError(
                f"create_executor({name!r}): the factory returned {_article(type(executor).__name__)}, "
                f"which is no executor: it has no {missing[0]}()"
            )
        return executor  # type: ignore[no-any-return]

    def factory(self, name: str) -> Callable[..., Any]:
        """The callable that makes a backend's executors.

        Args:
            name: The backend's name.

        Returns:
            The factory, imported if the backend gives it as text.

        Raises:
            BackendError: If the backend cannot be used or its factory cannot be imported.
        """
        finding = self._examine(name)
        if finding.backend is None:
            _refuse(finding.status, finding.cause)
        try:
            return _factory_of(finding.backend)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = _factory_reason(finding.backend, error)
            _refuse(replace(finding.status, state="broken", reason=reason), error)

    def pool_class(self, name: str) -> type:
        """The pool class that a backend brings.

        Args:
            name: The backend's name.

        Returns:
            The class that makes its executors.

        Raises:
            BackendError: If the backend cannot be used or brings no class.
        """
        found = self.factory(name)
        if not isinstance(found, type):
            raise BackendBrokenError(
                f"backend {name!r} brings no pool class: its factory is {_article(type(found).__name__)}; "
                f"use create_executor({name!r})"
            )
        return found

    def decides(self, name: str) -> bool:
        """Whether the name is not what the installed distributions alone say: somebody registered it by hand."""
        loaded = self._loaded.get(name)
        return self._scan is not _scan_installed or (loaded is not None and loaded.claim is None)

    def _examine(self, name: str) -> _Finding:
        if not isinstance(name, str):
            raise TypeError(_no_name(name))
        loaded = self._loaded.get(name)
        if loaded is None:
            scan = self._scan()
            claims = [claim for claim in scan.claims if claim.name == name]
            if not claims:
                raise self._not_found(name, scan)
            status = claimed_status(claims)
            if name in disabled_names():
                return _disabled(status)
            if status.state != "installed":
                return _Finding(status)
            try:
                backend = _load(claims[0])
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # SystemExit and a test framework's Skipped too
                return _Finding(replace(status, state="broken", reason=_load_reason(claims[0], error)), None, error)
            loaded = self._loaded.setdefault(name, _Loaded(backend, claims[0]))
        status = _known_status(loaded, proven=False)
        if name in disabled_names():
            return _disabled(status)
        finding = _ask_whether_available(status, loaded.backend)
        if finding.backend is not None:
            self._proven.add(name)
        return finding

    def _not_found(self, name: str, scan: Scan) -> BackendNotFoundError:
        from corefutures.registry._installing import how_to_install  # here for start-up time: only failures need it

        registered = list(self._loaded)
        installed = sorted({*registered, *(claim.name for claim in scan.claims)})
        sentence = f"backend {name!r} not found: "
        if name in OWN_DISTRIBUTIONS:
            sentence += f"it comes with {OWN_DISTRIBUTIONS[name]}, which is not installed; "
            sentence += how_to_install(OWN_DISTRIBUTIONS[name])
        else:
            sentence += "no installed distribution brings it and nobody registered it"
            meant = _meant_backend(name, installed)
            if meant in installed:
                sentence += f"; did you mean {meant!r}?"
            elif meant:
                sentence += f"; did you mean {meant!r}? {how_to_install(OWN_DISTRIBUTIONS[meant])}"
            if "." in name:
                sentence += "; an executor that is not a backend is named 'package.module:attr'"
        sentence += f" (installed: {', '.join(installed) or 'none'})"
        if scan.unreadable:
            sentence += f"; entry points that could not be read: {', '.join(scan.unreadable)}"
        return BackendNotFoundError(sentence)


def load_target(target: str) -> Any:
    """Import the object that a target names.

    Args:
        target: A place such as `"package.module:attr"`; attr may be dotted.

    Returns:
        The object.

    Raises:
        ValueError: If the text does not have that form.
        AttributeError: If the module lacks the attribute.
        ImportError: If the module is missing; besides that, whatever its import raises.
    """
    if not is_target(target):
        raise ValueError(f"not of the form 'package.module:attr': {target!r}")
    module_name, _, path = target.partition(":")
    found: Any = import_module(module_name)
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            meant = close_word(attribute, dir(found))
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise AttributeError(f"{module_name} has no {path!r}{hint}", name=attribute, obj=found) from None
    return found


def _scan_installed() -> Scan:
    from corefutures.registry._discovery import scan  # here for start-up time: importlib_metadata costs most of it

    return scan()


def claimed_status(claims: list[Claim], kind: str = "backend") -> BackendStatus:
    """Returns the status of a name from its claims alone; `kind` is what the name is for."""
    first = claims[0]
    status = BackendStatus(first.name, "installed", first.distribution, first.version)
    if len(claims) > 1:
        owners = " and ".join(_owner(claim) for claim in claims)
        return replace(status, state="conflicting", reason=f"it is claimed by {owners}")
    if first.defect is not None:
        return replace(status, state="broken", reason=first.defect)
    if not is_name(first.name):
        return replace(status, state="broken", reason=f"{first.name!r} cannot be the name of a {kind}")
    return status


def _known_status(loaded: _Loaded, proven: bool) -> BackendStatus:
    """The status of a loaded backend, without asking it anything."""
    backend, claim = loaded
    status = BackendStatus(backend.name, "available")
    if claim is not None:
        status = replace(status, distribution=claim.distribution, version=claim.version)
    reason = backend.unavailable_reason
    if isinstance(reason, str):
        return replace(status, state="unavailable", reason=reason)
    if reason is not None and not proven:
        return replace(status, state="installed")
    return status


def _disabled(status: BackendStatus) -> _Finding:
    return _Finding(replace(status, state="disabled", reason=f"{DISABLE_VARIABLE} names it"))


def _ask_whether_available(status: BackendStatus, backend: Backend) -> _Finding:
    contract = backend.contract
    if contract is not None and (contract[0] != CONTRACT[0] or contract > CONTRACT):
        older = "the backend" if contract < CONTRACT else "corefutures"
        reason = "it was made for contract {}.{}, and this corefutures has {}.{}".format(*contract, *CONTRACT)
        return _Finding(replace(status, state="unavailable", reason=f"{reason}: upgrade {older}"))
    question = backend.unavailable_reason
    try:
        answer: object = question() if callable(question) else question
    except Exception as error:
        reason = f"asking it whether it can run here raised {describe_error(error)}"
        return _Finding(replace(status, state="broken", reason=reason), None, error)
    if answer is None:
        return _Finding(replace(status, state="available", reason=None), backend)
    if not isinstance(answer, str):
        reason = f"its unavailable_reason returned {_article(type(answer).__name__)}, not a str or None"
        return _Finding(replace(status, state="broken", reason=reason))
    return _Finding(replace(status, state="unavailable", reason=answer))


def _load(claim: Claim) -> Backend:
    """Import the one plugin of a claim and call its hook.

    A plugin manager of its own for each load: no other plugin's hook is called, nothing half
    registered remains after a failure, and threads that load at the same time share nothing.
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
        raise TypeError(f"its hook returned {_article(type(backend).__name__)}, not a Backend")
    if backend.name != claim.name:
        raise ValueError(f"its hook describes a backend {backend.name!r}, its entry point is {claim.name!r}")
    return backend


def _load_reason(claim: Claim, error: BaseException) -> str:
    return f"loading {claim.plugin} failed: {describe_error(error)}"


def _factory_of(backend: Backend) -> Callable[..., Any]:
    factory = backend.factory
    if isinstance(factory, str):
        factory = load_target(factory)
        if not callable(factory):
            raise TypeError(f"it is {_article(type(factory).__name__)}, which cannot be called")
    return factory


def _factory_reason(backend: Backend, error: BaseException) -> str:
    return f"its factory {backend.factory} cannot be loaded: {describe_error(error)}"


def _target_factory(target: str) -> Callable[..., Any]:
    """The factory that a target names, for a caller who wants an executor."""
    if not is_target(target):
        raise ValueError(f"a target must have the form 'package.module:attr', not {target!r}")
    module_name = target.partition(":")[0]
    try:
        factory = load_target(target)
    except BackendError:
        raise
    except AttributeError as error:
        raise BackendNotFoundError(f"target {target!r} not found: {error}") from error
    except Exception as error:
        missing = missing_module(error, module_name)
        if missing:
            sentence = f"target {target!r} not found: there is no module {missing!r}; is it installed?"
            raise BackendNotFoundError(sentence) from error
        raise BackendBrokenError(f"target {target!r} cannot be imported: {describe_error(error)}") from error
    if not callable(factory):
        raise TypeError(f"target {target!r} is {_article(type(factory).__name__)}, which cannot be called")
    return factory  # type: ignore[no-any-return]


def missing_module(error: BaseException, module_name: str) -> str | None:
    """Tell a module that does not exist from one whose own imports fail.

    Args:
        error: What the import of the module raised.
        module_name: The module that was wanted.

    Returns:
        The module or the package around it that is missing; None if the failure is another one.
    """
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
        return error.name
    return None


#: What options are called elsewhere, in joblib, multiprocessing and others.
_OTHER_NAMES: Final = {
    "concurrency": "max_workers",
    "jobs": "max_workers",
    "max_processes": "max_workers",
    "max_threads": "max_workers",
    "maxtasksperchild": "max_tasks_per_child",
    "n_jobs": "max_workers",
    "n_workers": "max_workers",
    "num_processes": "max_workers",
    "num_threads": "max_workers",
    "num_workers": "max_workers",
    "pool_size": "max_workers",
    "processes": "max_workers",
    "size": "max_workers",
    "start_method": "mp_context",
    "threads": "max_workers",
    "workers": "max_workers",
}

#: Options that not all of our backends have, and who has them.
OPTIONS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "address": ("dask",),
    "check_versions": ("dask",),
    "client": ("dask",),
    "kill_on_cancel": ("process",),
    "kill_tree": ("process",),
    "max_tasks_per_child": ("process",),
    "mp_context": ("process",),
    "on_worker_loss": ("process",),
    "priority": ("dask",),
    "resources": ("dask",),
    "retries": ("dask",),
    "scheduler_file": ("dask",),
    "security": ("dask",),
    "serializer": ("process", "interpreter"),
    "thread_name_prefix": ("thread", "interpreter"),
}

#: Arguments that are given to a method, not to the factory.
_ARGUMENTS_OF: Final = {
    "buffersize": "map()",
    "cancel_futures": "shutdown()",
    "chunksize": "map()",
    "name": "options()",
    "timeout": "options(), map() or shutdown()",
    "wait": "shutdown()",
}


def check_options(name: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Name an option that the factory does not take, and those that it does."""
    if not options:
        return
    import inspect  # here for start-up time

    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # it tells no signature: the factory itself has to judge
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
    """What may have been meant by an option that there is not."""
    usual = _OTHER_NAMES.get(option, option)
    if usual in valid:
        return f": here it is called {usual!r}"
    if backend not in (owners := OPTIONS_OF.get(usual, (backend,))):
        called = "" if usual == option else f", called {usual!r}"
        return f": it is an option of {' and '.join(map(repr, owners))}{called}"
    if option in _ARGUMENTS_OF:
        return f": it is an argument of the executor's {_ARGUMENTS_OF[option]}"
    meant = close_word(option, valid)
    return f"; did you mean {meant!r}?" if meant else ""


def _refuse(status: BackendStatus, cause: BaseException | None) -> NoReturn:
    """Raise the error of a state."""
    raise _ERRORS[status.state](refusal("backend", status)) from cause


def refusal(kind: str, status: BackendStatus) -> str:
    """Returns what is said of something that can't be used: what failed, whose it is, why, and what to do.

    Args:
        kind: What it is: a backend or a command.
        status: Its status.
    """
    owner = _owner(status) if status.distribution else "registered by hand"
    remedy = {
        "unavailable": "use another backend here (`corefutures backends` lists them)",
        "broken": f"reinstall or upgrade {status.distribution}, or report it to its authors"
        if status.distribution
        else "correct the Backend that was registered",
        "conflicting": "uninstall all but one of them",
        "disabled": f"remove it from {DISABLE_VARIABLE} to use it",
    }[status.state]
    return f"{kind} {status.name!r} is {status.state} ({owner}): {status.reason}; {remedy}"


def _owner(claim: Claim | BackendStatus) -> str:
    return f"{claim.distribution} {claim.version or '(unknown version)'}"


#: What backends are called elsewhere; in small letters, without "pool", "executor" and the plural.
_NICKNAMES: Final = {
    "dask.distributed": "dask",
    "distributed": "dask",
    "futures": "thread",
    "localcluster": "dask",
    "mp": "process",
    "multiprocess": "process",
    "multiprocessing": "process",
    "subinterpreter": "interpreter",
    "subprocess": "process",
    "threading": "thread",
}


def _meant_backend(name: str, installed: list[str]) -> str | None:
    """The backend that is meant by a name that none has: a class's name, a plural, another spelling."""
    known = [*installed, *OWN_DISTRIBUTIONS]
    stem = name.strip().lower().rpartition(".")[2] if name.endswith("Executor") else name.strip().lower()
    for part in ("corefutures", "executor", "pool", "_", "-", " "):
        stem = stem.replace(part, "")
    stem = stem.removesuffix("es") if stem.endswith("sses") else stem.removesuffix("s") if stem[-2:] != "ss" else stem
    stem = _NICKNAMES.get(stem, stem)
    return stem if stem in known else close_word(name, known)


def _no_name(name: object) -> str:
    """What is said of something that is to be the name of a backend, and is no str."""
    if isinstance(name, type):
        place = f"{name.__module__}:{name.__qualname__}"
        return (
            f"the name of a backend must be a str such as 'thread', not the class {name.__qualname__}: call it, or name"
            f" its place, {place!r}"
        )
    return f"the name of a backend must be a str such as 'thread', not {shown(name)}"


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def close_word(word: str, words: list[str]) -> str | None:
    """Returns that one of the words which may be meant by a misspelt one."""
    import difflib  # here for start-up time: only failures need it

    return next(iter(difflib.get_close_matches(word, words, n=1)), None)


REGISTRY: Final = Registry()


def _continue_in_child() -> None:
    REGISTRY._lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_continue_in_child)


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
    """The backends that are installed and not known to fail here, from metadata alone."""
    return [
        name
        for name, status in backends().items()
        if status.state in ("installed", "available") and sys.version_info >= _FIRST_PYTHON.get(name, (3,))
    ]
