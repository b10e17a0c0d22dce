"""The reducer of each class: how its objects are pickled, and whether the pickle contains all of the object.

Touches nothing of the pool; used when a pickler meets a class for the first time. Guarantees: the same reductions as
the pickler's own.
"""

from __future__ import annotations

import sys
from operator import attrgetter, methodcaller

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final

#: The reductions that a pickler does by itself: a class by its name, any other object by its method.
_reduce_by_name: Final = attrgetter("__qualname__")
_reduce_by_method: Final = methodcaller("__reduce_ex__", 5)

_mro_of: Final = type.__dict__["__mro__"].__get__
_dict_of: Final = type.__dict__["__dict__"].__get__
_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE

#: The methods by which a class customizes its pickles.
_CUSTOM_METHODS: Final = ("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs_ex__", "__getnewargs__")
#: Packages besides the standard library whose pickles contain all of an object.
_SELF_CONTAINED: Final = frozenset({"numpy", "pandas", "cloudpickle"})
#: Packages of the standard library whose pickles may refer to a resource: proxies, shared memory, finalizers.
_BY_REFERENCE: Final = frozenset({"multiprocessing", "weakref"})


def find(kind: type, tables: Sequence[Mapping[type, Callable[[Any], Any]]]) -> tuple[Any, bool, bool]:
    """Find the reducer of a class.

    Args:
        kind: The class.
        tables: Reducers, of which later ones take precedence.

    Returns:
        The reducer; whether the class is permanent, as far as can be known; and whether a pickle of such an object may
        only refer to a resource that the object owns, as that of shared memory does.
    """
    mro = _mro_of(kind)
    reducer = next((table[kind] for table in reversed(tables) if kind in table), None)
    if type in mro:
        return reducer or _reduce_by_name, _is_permanent(kind), False
    if any("__del__" in _dict_of(one) for one in mro):
        by_reference = True
    elif reducer is not None:
        by_reference = kind.__module__ not in ("builtins", "functools") and not _is_self_contained(reducer)
    else:
        owners = [next((one for one in mro if method in _dict_of(one)), object) for method in _CUSTOM_METHODS]
        by_reference = kind.__module__ == "weakref" or not all(
            owner is object or _is_self_contained(owner) for owner in owners
        )
        if owners[0] is object and owners[1] is kind and not kind.__flags__ & _HEAP_TYPE:
            reducer = kind.__reduce__  # `__reduce_ex__` calls it
    return _reduce_by_method if reducer is None else reducer, _is_permanent(kind), by_reference


def _is_self_contained(definition: Any) -> bool:
    """Return whether the pickles that a class or a reducer makes are known to contain all of an object."""
    package = str(getattr(definition, "__module__", "")).partition(".")[0]
    return package in _SELF_CONTAINED or (package in sys.stdlib_module_names and package not in _BY_REFERENCE)


def _is_permanent(kind: type) -> bool:
    """Return whether a class lives as long as the program, so that a cache may refer to it."""
    if not kind.__flags__ & _HEAP_TYPE:
        return True
    try:
        return getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind
    except Exception:  # strange names
        return False
