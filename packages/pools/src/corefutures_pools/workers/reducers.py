"""How objects of a class are reduced for a pickle, and whether that contains all of them or only names something.

Touches nothing of the pool; used when a class is met for the first time. Guarantees: the same reductions as without it.
"""

from __future__ import annotations

import sys
from operator import attrgetter, methodcaller

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final

#: What a pickler does by itself: a class goes by its name, anything else by its method.
_by_name: Final = attrgetter("__qualname__")
_by_method: Final = methodcaller("__reduce_ex__", 5)

_mro_of: Final = type.__dict__["__mro__"].__get__
_dict_of: Final = type.__dict__["__dict__"].__get__
_HEAP: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE

#: What a class has that is pickled in a way of its own.
_OWN_WAYS: Final = ("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs_ex__", "__getnewargs__")
#: Packages besides the standard library whose objects are known to be contained in their pickles.
_CONTAINED: Final = frozenset({"numpy", "pandas", "cloudpickle"})
#: Parts of the standard library whose objects aren't: proxies, shared memory, finalisers.
_NAMED: Final = frozenset({"multiprocessing", "weakref"})


def find(kind: type, tables: Sequence[Mapping[type, Callable[[Any], Any]]]) -> tuple[Any, bool, bool]:
    """Returns how objects of a class are reduced.

    Args:
        kind: The class.
        tables: Reducers, of which later ones come first.

    Returns:
        The reducer; whether the class stays, as far as can be told; and whether a pickle of such an object may only
        name what goes with the object, as that of shared memory does.
    """
    mro = _mro_of(kind)
    reducer = next((table[kind] for table in reversed(tables) if kind in table), None)
    if type in mro:
        return reducer or _by_name, _stays(kind), False
    if any("__del__" in _dict_of(one) for one in mro):
        naming = True
    elif reducer is not None:
        naming = kind.__module__ not in ("builtins", "functools") and not _contains(reducer)
    else:
        owners = [next((one for one in mro if way in _dict_of(one)), object) for way in _OWN_WAYS]
        naming = kind.__module__ == "weakref" or not all(owner is object or _contains(owner) for owner in owners)
        if owners[0] is object and owners[1] is kind and not kind.__flags__ & _HEAP:
            reducer = kind.__reduce__  # which is what that method comes to
    return _by_method if reducer is None else reducer, _stays(kind), naming


def _contains(definition: Any) -> bool:
    """Returns whether what a class or function makes of an object is known to contain it."""
    package = str(getattr(definition, "__module__", "")).partition(".")[0]
    return package in _CONTAINED or (package in sys.stdlib_module_names and package not in _NAMED)


def _stays(kind: type) -> bool:
    """Returns whether a class is there for good, so that it may be referred to."""
    if not kind.__flags__ & _HEAP:
        return True
    try:
        return getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind
    except Exception:  # strange names
        return False
