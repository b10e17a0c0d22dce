"""The option `warm`: its checks, and the start method that it implies.

Touches `multiprocessing`. Guarantees: what can't be had is refused before any process is started.
"""

from __future__ import annotations

import multiprocessing

from corefutures import UnsupportedError
from corefutures_pools.options import shown
from corefutures_pools.workers.transport import threads_are_replaced

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext
    from typing import Any

_EXAMPLE = "write warm=['numpy', 'package.module']"


def check_warm(warm: Any, mp_context: Any) -> tuple[tuple[str, ...], BaseContext]:
    """Check the option, and return the modules, each once, and the context that makes the workers.

    Args:
        warm: The option.
        mp_context: The option `mp_context`.

    Raises:
        TypeError: It is no list of texts.
        ValueError: A text is no name of a module, or the start method is another one.
        UnsupportedError: Workers can't be forked from a template in this program.
    """
    if isinstance(warm, (str, bytes)) or not hasattr(type(warm), "__iter__"):
        raise TypeError(f"warm must be a list of names of modules, not {shown(warm)}: {_EXAMPLE}")
    modules = tuple(dict.fromkeys(map(_checked_name, warm)))
    method = mp_context
    if not (mp_context is None or isinstance(mp_context, str)):
        if not hasattr(mp_context, "get_start_method"):
            return modules, mp_context  # which is refused with every option
        method = mp_context.get_start_method()
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise UnsupportedError(
            "warm can't be had on this platform: workers are forked from a process that has imported the modules, and"
            " there is no fork here; leave warm out, and consider spares=1"
        )
    if method not in (None, "forkserver"):
        raise ValueError(
            f"warm is incompatible with the start method {method!r}: workers are forked from a template process that"
            " has imported the modules, which only 'forkserver' can do; leave mp_context out"
        )
    if threads_are_replaced():
        raise UnsupportedError(
            "warm can't be had here: a library such as gevent has replaced threads, and a template process can't be"
            " asked for workers then"
        )
    context: Any = multiprocessing.get_context("forkserver")
    known = (context.Process, multiprocessing.Process)
    if not (mp_context is None or isinstance(mp_context, str) or mp_context.Process in known):
        raise ValueError("warm is incompatible with a context that has a class of processes of its own")
    return modules, context


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"warm must be a list of names of modules, and {shown(name)} is none: {_EXAMPLE}")
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"warm: {shown(name)} is no name of a module: {_EXAMPLE}")
    return str(name)
