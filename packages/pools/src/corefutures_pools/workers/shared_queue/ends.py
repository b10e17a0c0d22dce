"""`SharedQueueEnds`: what a worker is given of the shared queue.

Used on both sides; touches nothing.
"""

from __future__ import annotations

from collections import namedtuple


class SharedQueueEnds(
    namedtuple(
        "SharedQueueEnds",
        "tasks frames memory memory_size status_size slot_starts worker_index parent_death_pipe payload_channel"
        " is_spare",
        defaults=(False,),
    )
):
    """The worker's ends of everything; the descriptors stay the pool's.

    Besides what `serve_shared_queue` takes: `memory` and its sizes, of which arena and status table are mapped, and
    `parent_death_pipe`, the read end of a pipe that nothing is ever written to, and that ends with the pool's process;
    and `is_spare`: whether the worker waits for a grant before it claims calls.
    """

    __slots__ = ()
