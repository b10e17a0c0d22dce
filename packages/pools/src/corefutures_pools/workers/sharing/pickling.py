"""How a shared object is pickled: all of its buffers are out of band, and a memoryview is one.

Touches `pickle`. Guarantees: the object is pickled once; what it pickles as in a call is what it pickles as here.
"""

from __future__ import annotations

import pickle

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any

    Buffer = bytes | bytearray | memoryview


def dump_shared(obj: Any, base: Any, reducers: Any) -> tuple[list[Buffer], list[memoryview]]:
    """Return the pickle of an object in pieces, and its out-of-band buffers.

    Args:
        obj: The object.
        base: The class to pickle with: see `Encoder`.
        reducers: The dispatch table.

    Raises:
        BaseException: Whatever pickling raises.
    """

    class Pickler(base):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is memoryview:
                return _reduce_view(obj)
            return NotImplemented if override is None else override(self, obj)

    override = getattr(base, "reducer_override", None)
    output = _Pieces()
    buffers: list[pickle.PickleBuffer] = []
    pickler: Any = Pickler(output, 5, buffer_callback=buffers.append)
    pickler.out_of_band = []  # see `Encoder`: here all buffers are
    pickler.dispatch_table = reducers
    pickler.dump(obj)
    return output.pieces, [buffer.raw() for buffer in buffers]


class _Pieces:
    """The file of the pickler."""

    def __init__(self) -> None:
        self.pieces: list[Buffer] = []

    def write(self, piece: Any) -> None:
        """Take a piece; a view shows memory that the pickler has only during this call."""
        if isinstance(piece, pickle.PickleBuffer):
            piece = piece.raw()
        self.pieces.append(bytes(piece) if type(piece) is memoryview else piece)


def _reduce_view(view: memoryview) -> Any:
    content = pickle.PickleBuffer(view if view.c_contiguous else view.tobytes())
    if view.format == "B" and view.ndim == 1:
        return memoryview, (content,)
    form: Any = view.format
    memoryview(bytes(view.itemsize)).cast(form)  # raises if a worker could not make such a view
    return _rebuild_view, (content, view.format, view.shape)


def _rebuild_view(content: Any, form: Any, shape: tuple[int, ...]) -> memoryview:
    """Return a view with that format and shape; an empty one has one dimension."""
    flat = memoryview(content).cast("B")
    return flat.cast(form, shape) if flat.nbytes else flat.cast(form)
