"""The bytes between a pool and its workers: task descriptors one way, frames the other.

Touches nothing but `struct`; used on both sides. Guarantees: a task descriptor or a frame's header always decodes, and
`check_head` detects bytes that no worker wrote; a body may fail to decode, and then fails its own call alone (E4).
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

# A task descriptor: the number of a call, then the place of its body in the arena, and the body's size. All workers
# read task descriptors from one pipe. The kernel gives each of them to one reader, in the order written: reading one
# claims the call (E1, E2), and no worker has started a call whose descriptor the pool reads back (E3).
TASK: Final = Struct("=QII")

#: In place of a call's number: the worker that reads it ends.
STOP: Final = 0
#: Or-ed to the number of a ping: the worker that reads it answers PONG with that number.
PING: Final = 1 << 63
#: In place of a body's size: the body is a payload, to be asked for with FETCH_PAYLOAD.
PAYLOAD_SIZE: Final = 0xFFFF_FFFF

# A frame from a worker: the size of its body, its kind, the number of the call it is about.
FRAME: Final = Struct("=QBQ")

READY: Final = 0  # the initializer has run; the worker takes calls from now on
RESULT_PICKLE: Final = 1  # body: the pickled result
RESULT_PAYLOAD: Final = 2  # the result came, or comes, as a payload
ERROR: Final = 3  # body: see `pack_error`
FETCH_PAYLOAD: Final = 4  # the worker has claimed the call and asks for its payload
PONG: Final = 5  # the answer to a PING
EXITING: Final = 6  # the worker's last frame: it holds no call and takes no more
INIT_FAILED: Final = 7  # the initializer failed; body as for ERROR; the worker ends
RESULT_MARSHAL: Final = 8  # body: see `plain.marshalled_result`
CALL_STARTED: Final = 9  # a worker begins with an observed call; body: MOMENT
CALL_FINISHED: Final = 10  # it has done so; body: MOMENT
RESULT_SLOT: Final = 12  # the result is in the call's slot of the arena; body: SLOT_RESULT
FAILED: Final = 11  # the worker could not start, or go on; body as for ERROR; it ends

#: Or-ed to the kind of a result: it is an item of a stream, and the call goes on.
ITEM: Final = 0x40
#: The kinds of items.
ITEMS: Final = frozenset({RESULT_PICKLE | ITEM, RESULT_PAYLOAD | ITEM, RESULT_MARSHAL | ITEM})
#: Or-ed to the number of a call, in a message to its worker: so many more items of its stream may be sent; none if no
#: more will be taken.
GRANT: Final = 1 << 61
#: In place of a call's number, with GRANT: the worker is a spare no more.
SPARE: Final = 0

#: What an item of kind RESULT_PICKLE begins with that is a `SentBack`: no pickle begins so. The worker then waits for a
#: grant. In an ERROR frame, before the number of the call: it has had the grant.
REFUSED: Final = b"\0refused"
REFUSED_NUMBER: Final = Struct("=Q")

#: Or-ed to the number of a call that is observed: its worker sends CALL_STARTED and CALL_FINISHED.
OBSERVED: Final = 1 << 62
#: When something happened, by `time.perf_counter`, which all processes of a machine share; the size of the result.
MOMENT: Final = Struct("=dQ")
#: The number of bytes of a result in a slot, and RESULT_PICKLE or RESULT_MARSHAL.
SLOT_RESULT: Final = Struct("=IB")

#: Bytes: a larger body is a payload.
INLINE_LIMIT: Final = 1 << 16
#: Bytes: a larger payload is written to memfds at once; another one stays in plain memory, for a slot of the arena.
SLOT_LIMIT: Final = (1 << 20) + (1 << 12)
#: Bytes: no body is larger. What is, came from somebody else's writing to our descriptors.
LARGEST: Final = 1 << 30
_SIZES: Final = {
    READY: 0, RESULT_PAYLOAD: 0, RESULT_PAYLOAD | ITEM: 0, FETCH_PAYLOAD: 0, PONG: 0, EXITING: 0,
    CALL_STARTED: MOMENT.size, CALL_FINISHED: MOMENT.size, RESULT_SLOT: SLOT_RESULT.size,
}  # fmt: skip
_ABOUT_CALLS: Final = {
    RESULT_PICKLE, RESULT_PAYLOAD, RESULT_SLOT, ERROR, FETCH_PAYLOAD, RESULT_MARSHAL, CALL_STARTED, CALL_FINISHED,
    *ITEMS,
}  # fmt: skip
_ABOUT_STARTS: Final = {READY, INIT_FAILED, FAILED}


class MalformedFrame(Exception):
    """A worker said what no worker says: a call, or what it uses, writes to descriptors that are not its own."""


def check_head(size: int, kind: int, number: int, *, ready: bool, calls: int) -> None:
    """Raise MalformedFrame unless a worker may send a frame with this head; PONG is checked by the sender of the PING.

    Args:
        size: Of its body.
        kind: Its kind.
        number: What it is about.
        ready: Whether the worker has said READY.
        calls: The highest number of a call.
    """
    right_size = size == _SIZES.get(kind, size) and size <= LARGEST
    if kind in _ABOUT_CALLS:
        right = ready and 0 < number & ~OBSERVED <= calls
    elif kind in _ABOUT_STARTS:
        right = number == 0 and (kind == FAILED or not ready)
    else:
        right = kind == PONG or (kind == EXITING and number == 0)
    if not (right and right_size):
        raise MalformedFrame(f"a frame of kind {kind}, about {number}, with {size} bytes")


#: Or-ed to the kind of a result where one call at a time is sent: the worker takes no more.
LAST: Final = 0x80

_ERROR_TEXT_SIZE: Final = Struct("=I")


def pack_error(error: BaseException, text: str, encode: Callable[[Any], bytes]) -> bytes:
    """Return the body of an ERROR frame: the text of the traceback, which always decodes, then the exception."""
    raw = text.encode("utf-8", "backslashreplace")
    return _ERROR_TEXT_SIZE.pack(len(raw)) + raw + encode(error)


def split_error(body: bytes | bytearray | memoryview) -> tuple[str, memoryview]:
    """Return the text and the pickled exception of an ERROR frame."""
    view = memoryview(body)
    (size,) = _ERROR_TEXT_SIZE.unpack_from(view)
    start = _ERROR_TEXT_SIZE.size
    return str(view[start : start + size], "utf-8"), view[start + size :]
