"""The layout of the memory of a shared object: head, places of the buffers, pickle, buffers.

Touches nothing but `struct`; used on both sides.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from typing import Final

#: The state, the token of the object, the size of the pickle, the number of buffers.
HEAD: Final = Struct("=B16sQQ")
#: The offset of a buffer and its size.
PLACE: Final = Struct("=QQ")
#: Bytes: each buffer begins at a multiple, for vector instructions.
ALIGNMENT: Final = 64

# The state, which is the first byte. Memory that nobody has written is neither.
OPEN: Final = 1
CLOSED: Final = 2
