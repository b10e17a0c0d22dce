"""Defects in sharing: objects that are pickled or loaded too often, kept too long, freed too early or written to."""

from __future__ import annotations

import os
import pickle
from typing import Any

from reference import ThreadExecutor

import corefutures
from mutants import mutant
from mutants.control import Able
from mutants.streaming import Sent
from mutants.worker_values import Surviving


def handles(args: tuple[Any, ...]) -> list[Any]:
    """The handles among the arguments."""
    return [arg for arg in args if isinstance(arg, corefutures.Shared)]


@mutant("sharing.a_shared_object_arrives_wherever_it_is", says="in a list", also=("sharing.*",))
class LosesHandlesInLists(Able):
    """A handle in a list is lost."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        changed = [[[]] if isinstance(arg, list) and handles(tuple(arg)) else arg for arg in args]
        return super().submit(fn, *changed, **kwargs)


@mutant("sharing.a_shared_object_is_the_very_object", says="another object", also=("sharing.*",))
class SharesACopy(Able):
    """Calls in threads get a copy."""

    def share(self, obj: Any) -> Any:
        made = object.__new__(type(obj))
        vars(made).update(vars(obj))
        return super().share(made)


@mutant("sharing.a_shared_object_is_pickled_once", says="was pickled 11 times", also=("sharing.*",))
class PicklesForEachCall(Sent):
    """The object is pickled with each call again."""

    def share(self, obj: Any) -> Any:
        handle = super().share(obj)
        self.__dict__.setdefault("objects", []).append((handle, obj))
        return handle

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        for handle, obj in self.__dict__.get("objects", ()):
            if handle in args:
                pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)
        return super().submit(fn, *args, **kwargs)


class _Loads:
    """Pickles as the object in a pickle."""

    def __init__(self, pickled: bytes) -> None:
        self.pickled = pickled

    def __reduce__(self) -> Any:
        return pickle.loads, (self.pickled,)


@mutant("sharing.a_worker_loads_a_shared_object_once", says="loaded it like this", also=("sharing.*",), deadline=20)
class SendsItWithEachCall(Sent):
    """The object is an argument like any other."""

    def share(self, obj: Any) -> Any:
        handle = super().share(None)
        self.__dict__.setdefault("sent", []).append((handle, _Loads(pickle.dumps(obj, pickle.HIGHEST_PROTOCOL))))
        return handle

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        sent = self.__dict__.get("sent", ())
        changed = [next((load for handle, load in sent if arg is handle and not arg.closed), arg) for arg in args]
        return super().submit(fn, *changed, **kwargs)


@mutant("sharing.buffers_of_a_shared_object_are_read_only", says="writes to it", also=("sharing.*",))
class LetsCallsWrite(Sent):
    """The buffers are in the pickle."""

    def share(self, obj: Any) -> Any:
        return super().share(_Loads(pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)))


@mutant("sharing.a_call_submitted_before_the_close_gets_the_object", says="", also=("sharing.*",))
class FreesAtOnce(Able):
    """A call that has not begun at the close gets nothing."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        given = handles(args)

        def run(*args: Any, **kwargs: Any) -> Any:
            if any(handle.closed for handle in given):
                raise ValueError("freed")
            return fn(*args, **kwargs)

        return super().submit(run if callable(fn) else fn, *args, **kwargs)


@mutant("sharing.a_closed_handle_fails_its_call_alone", says="gave None", also=("sharing.*",))
class TakesClosedHandles(Able):
    """In the place of a closed handle there comes nothing."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        closed = [handle for handle in handles(args) if handle.closed]
        return super().submit(fn, *[() if arg in closed else arg for arg in args], **kwargs)


@mutant("sharing.a_handle_of_another_executor_is_refused", says="gave None", also=("sharing.*",))
class TakesAnyHandle(Able):
    """Any handle will do."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        own = vars(self).get("_cf_sharer")
        return super().submit(fn, *[() if arg in handles(args) and arg._sharer is not own else arg for arg in args])


class _Left(corefutures.Shared[Any]):
    def __exit__(self, *_: object) -> None:
        pass


@mutant("sharing.handles_are_closed_by_their_block_and_by_shutdown", says="is open", also=("sharing.*",))
class LeavesHandlesOpen(Sent):
    """The end of a block does not close the handle."""

    def share(self, obj: Any) -> Any:
        handle = super().share(obj)
        handle.__class__ = _Left
        return handle


_kept: list[Any] = []


class _Kept(_Loads):
    def __reduce__(self) -> Any:
        return load_and_keep, (self.pickled,)


def load_and_keep(pickled: bytes) -> Any:
    """Load an object, and keep it for ever."""
    _kept.append(pickle.loads(pickled))
    return _kept[-1]


@mutant(
    "sharing.a_closed_object_is_freed_in_the_worker",
    says="a closed object to be freed",
    also=("sharing.*",),
    deadline=5,
)
class FreesNothing(Sent):
    """A worker keeps what it has got."""

    def share(self, obj: Any) -> Any:
        return super().share(_Kept(pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)))


@mutant("sharing.an_object_that_can_not_be_pickled_is_refused", says="was shared", also=("sharing.*",))
class SharesAnything(Sent):
    """What can't be pickled is left out."""

    def share(self, obj: Any) -> Any:
        try:
            return super().share(obj)
        except Exception:
            return super().share(None)


class _Dies(_Loads):
    def __reduce__(self) -> Any:
        return load_or_die, (self.pickled,)


def load_or_die(pickled: bytes) -> Any:
    """Load an object; end the process if that fails."""
    try:
        return pickle.loads(pickled)
    except Exception:
        os._exit(1)


@mutant("sharing.an_object_that_can_not_be_loaded", says="gave", also=("sharing.*",))
class DiesOfWhatItCanNotLoad(Sent):
    """A worker that can't load an object ends."""

    def share(self, obj: Any) -> Any:
        return super().share(_Dies(pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)))


class _Once(_Loads):
    def __reduce__(self) -> Any:
        return load_once, (self.pickled,)


def load_once(pickled: bytes) -> Any:
    """Load an object, the first time."""
    loaded = pickle.loads(pickled)
    if len([entry for entry in loaded.journal.entries if entry.startswith("loaded")]) > 1:
        raise LookupError("it was sent")
    return loaded


@mutant(
    "sharing.a_worker_that_replaces_another_gets_the_object",
    says="it was sent",
    also=("sharing.*",),
    deadline=20,
)
class SendsItToTheFirstWorker(Surviving):
    """A worker that comes later gets nothing."""

    def share(self, obj: Any) -> Any:
        return super().share(_Once(pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)))


@mutant("sharing.sharing_is_refused", says="was not refused")
class PretendsToShare(ThreadExecutor, corefutures.Executor):
    """It returns the object."""

    def share(self, obj: Any) -> Any:
        return obj
