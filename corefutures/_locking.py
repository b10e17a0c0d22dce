"""`Lock`: a lock that no signal handler and no finaliser finds taken by the thread that it interrupts.

Touches nothing. Guarantees, for sections written as the class says: an interrupt that raises leaves the lock free, and
who waits for the lock waits for code that runs, never for a handler that may wait for anything (F8).
"""

from __future__ import annotations

try:
    from _thread import RLock
except ImportError:  # an interpreter without the C lock
    from threading import RLock

__all__ = ["Lock"]


class Lock(RLock):  # type: ignore[misc]
    """A lock for sections in which nothing is called.

        if lock.taken:
            self._state = FINISHED
            lock.release()

    `taken` waits for the lock, takes it and is true. The argument, for CPython:

    1. handlers and finalisers run, and interrupts raise, at the beginning of a function, where a loop jumps back, and
       after a call: not after an attribute was read, which is how this lock is taken;
    2. a section of attributes, tests and displays, without a call, has no such point, and nothing in it raises;
    3. after the call of `release` there is one, and the lock is free by then.

    With `with`, or a call of `acquire`, a handler can come between taking the lock and the section. While `taken` waits
    for another thread handlers do run; what they raise leaves the lock to that thread.

    It is reentrant: CPython 3.11 collects garbage also where a tuple or list is made, and the finaliser may come here.
    So what is to be appended is made beforehand.
    """

    __slots__ = ()

    taken = property(RLock.acquire)
