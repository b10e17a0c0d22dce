"""`Shared`: an object that a pool has shared with its workers; `Sharer`, which has those of one pool.

Touches the encoder of the pool, or nothing where workers are threads. Guarantees: a call that was submitted before its
shared object is closed gets it; the memory is freed once no handle, no call and no worker needs it.
"""

from __future__ import annotations

from corefutures._foreign_code import LiveObjects, class_name

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Generic, TypeVar

    _T = TypeVar("_T")

    class _Typed(Generic[_T]):
        """A class with a type argument."""

else:

    class _Typed:
        """The same without `typing`."""

        __class_getitem__ = classmethod(lambda cls, item: cls)


class InPlace:
    """The content of a handle where workers are threads: the object itself."""

    __slots__ = ("object",)

    def __init__(self, obj: Any) -> None:
        self.object = obj


class UnusableHandle(ValueError):
    """A handle can't be an argument of this call: it is closed, or another pool's."""

    _cf_is_refusal = True  # for the encoder, which need not make one of it


class Shared(_Typed["_T"]):
    """The handle of a shared object: as an argument of a call it arrives as the object; see `PoolExecutor.share`.

    Leaving the handle by `with`, `close()`, shutting down the pool or dropping the handle frees the object here and in
    the workers. A call that was submitted before that still gets it.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, sharer: Sharer, name: str, content: Any) -> None:
        self._sharer = sharer
        self._name = name
        self._content: Any = content  # an `InPlace`, the `SharedMemory` of isolated workers, or None

    @property
    def closed(self) -> bool:
        """Whether it is closed: no call takes it any more."""
        return self._content is None

    def close(self) -> None:
        """Free the object, once the calls that were submitted with it have ended; do nothing the second time."""
        self._content = None

    def __enter__(self) -> _T:
        return self  # type: ignore[return-value]  # what a call gets of it is the object

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Shared {self._name}{', closed' if self.closed else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} can't be pickled: it can only be an argument of calls of the pool that shares it")

    def _cf_content(self, sharer: object) -> Any:
        """Return the content for a call of a pool.

        Args:
            sharer: The pool's.

        Raises:
            UnusableHandle: The handle is closed, or is another pool's.
        """
        content = self._content
        if self._sharer is not sharer:
            raise UnusableHandle(f"{self!r} belongs to another pool: share the object with each pool that needs it")
        if content is None:
            raise UnusableHandle(f"{self!r}: submit the calls that are to get the object before it is closed")
        return content

    def _cf_reduce_for(self, encoder: Any, used: list[Any]) -> Any:
        """Reduce the handle in a call: the worker finds the object, or opens its memory.

        Args:
            encoder: The encoder of the pool.
            used: Gets the memory, which has to live until the call has ended.

        Raises:
            UnusableHandle: The handle is closed, or is another pool's.
        """
        memory = self._cf_content(encoder.sharer)
        used.append(memory)
        return memory.__reduce__()


class Sharer:
    """The handles of one pool.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self) -> None:
        self._handles = LiveObjects()
        self._is_closed = False

    def add(self, obj: Any, content: Any) -> Shared[Any]:
        """Return a handle; it is closed if the pool was closed meanwhile."""
        handle: Shared[Any] = Shared(self, class_name(obj), content)
        self._handles.add(handle)
        if self._is_closed:
            handle.close()
        return handle

    def close(self) -> None:
        """Close all handles: the pool takes no more calls."""
        self._is_closed = True
        for handle in self._handles.all():
            handle.close()

    def in_place(self, argument: Any) -> Any:
        """Return an argument of a call with the objects in place of their handles.

        Args:
            argument: Returned as it is, unless it is a handle, or one is in it: in a list, tuple, dictionary, `partial`
                or dataclass. Then a copy is returned.

        Raises:
            UnusableHandle: A handle is closed, or is another pool's.
        """
        return _replaced(argument, self, set())


def _replaced(value: Any, sharer: Sharer, within: set[int]) -> Any:
    """Return `value` with the objects in place of their handles.

    Args:
        value: The value.
        sharer: Of the pool.
        within: The ids of the containers that this value is in: a container that contains itself stays as it is.
    """
    kind = type(value)
    if kind is Shared:
        return value._cf_content(sharer).object
    parts = _parts(value, kind)
    if not parts or id(value) in within:
        return value
    within.add(id(value))
    replaced = [_replaced(part, sharer, within) for part in parts]
    within.discard(id(value))
    if all(new is old for new, old in zip(replaced, parts, strict=True)):
        return value
    return _rebuilt(value, kind, replaced)


def _parts(value: Any, kind: type) -> list[Any]:
    from functools import partial  # here for start-up time only

    if kind is list or isinstance(value, tuple):
        return list(value)
    if kind is dict:
        return list(value.values())
    if kind is partial:
        return [value.func, value.args, value.keywords]
    fields = getattr(kind, "__dataclass_fields__", None)
    return [] if fields is None else [getattr(value, name, None) for name in fields]


def _rebuilt(value: Any, kind: Any, parts: list[Any]) -> Any:
    """Return a copy of a container with other parts."""
    from functools import partial  # here for start-up time only

    if kind is list:
        return parts
    if isinstance(value, tuple):
        return tuple(parts) if kind is tuple else kind._make(parts)
    if kind is dict:
        return dict(zip(value, parts, strict=True))
    if kind is partial:
        return partial(parts[0], *parts[1], **parts[2])
    import copy  # hardly any program needs it

    made = copy.copy(value)
    for name, part in zip(kind.__dataclass_fields__, parts, strict=True):
        object.__setattr__(made, name, part)
    return made
