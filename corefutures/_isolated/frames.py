"""The bytes between a pool and its workers: tickets one way, frames the other.

Touches nothing but `struct`; used on both sides. Guarantees: a ticket or a frame's header always decodes;
only a body may fail to, and then it fails its own call alone (E4).
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from typing import Final

# A ticket is the right to run one call: its number, then where its body lies in the arena, and how long it is.
# All workers read tickets from one pipe. The kernel gives each of them to one reader, in the order written:
# that is the claim (E1, E2), and what the pool reads back itself, no worker has started (E3).
TICKET: Final = Struct("=QII")

#: In place of a call's number: the worker that reads it ends.
STOP: Final = 0
#: Or-ed to the number of a roll call: the worker that reads it answers PRESENT with that number.
ROLL_CALL: Final = 1 << 63
#: In place of a body's size: the body is a parcel, to be asked for with WANTED.
PARCEL_SIZE: Final = 0xFFFF_FFFF

# A frame from a worker: the size of its body, its kind, the number of the call it is about.
FRAME: Final = Struct("=QBQ")

READY: Final = 0  # the initializer has run; the worker takes calls from now on
VALUE: Final = 1  # body: the pickled result
VALUE_PARCEL: Final = 2  # the result came, or comes, as a parcel
ERROR: Final = 3  # body: see `payload.pack_error`
WANTED: Final = 4  # the worker has claimed the call and asks for its parcel
PRESENT: Final = 5  # the answer to a roll call
LEAVING: Final = 6  # the worker's last word: it holds no call and takes no more
UNFIT: Final = 7  # the initializer failed; body as for ERROR; the worker ends
PLAIN: Final = 8  # body: see `plain.plain_result`
BEGUN: Final = 9  # a worker begins with an observed call; body: MOMENT
ENDED: Final = 10  # it has done so; body: MOMENT

#: Or-ed to the number of a call that is observed: its worker sends BEGUN and ENDED.
OBSERVED: Final = 1 << 62
#: When something happened, by `time.perf_counter`, which all processes of a machine share; the size of the result.
MOMENT: Final = Struct("=dQ")

#: Or-ed to the kind of a result where one call at a time is sent: the worker takes no more.
LAST: Final = 0x80
