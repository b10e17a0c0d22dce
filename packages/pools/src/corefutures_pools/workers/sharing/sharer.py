"""`WorkerSharer`: the handles of a pool with isolated workers, and the calls that have some among their arguments.

Touches the encoder's parts. Guarantees: a call that could be marshalled without its handles is, and they cost little.
"""

from __future__ import annotations

from corefutures_pools.sharing import Shared, Sharer
from corefutures_pools.workers.marshalled import marshalled_call, shared_place
from corefutures_pools.workers.messages import INLINE_LIMIT
from corefutures_pools.workers.serialization import RetainedCall

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any


class WorkerSharer(Sharer):
    """The handles of one pool; see `Sharer`."""

    def marshalled_call(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], head: bytes
    ) -> RetainedCall | None:
        """Return a call that can be marshalled but for handles among its arguments; None if it is none.

        Raises:
            UnusableHandle: A handle is closed, or is another pool's.
        """
        plain: list[Any] = [*args]
        used = []
        places = b""
        index = -1
        for arg in args:
            index += 1
            if type(arg) is Shared:
                memory = arg._content
                if memory is None or arg._sharer is not self:
                    arg._cf_content(self)  # raises
                assert memory is not None
                try:
                    places += memory.places[index]
                except KeyError:
                    if index > 255 or memory.kept is not None:  # too far for a byte; or freeing it may run foreign code
                        return None
                    places += memory.places.setdefault(index, shared_place(index, memory.token, memory.reference))
                used.append(memory)
                plain[index] = None
        if not used:
            return None
        call = marshalled_call(fn, plain, kwargs, INLINE_LIMIT - len(places), head)
        return None if call is None else RetainedCall(places + call, None, used)
