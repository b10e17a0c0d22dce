"""What the tests of inner threads have workers do. Records what it finds at the moment in which it is imported."""

from __future__ import annotations

import os

from corefutures_process._inner_threads import VARIABLES

AT_IMPORT = [os.environ.get(name) for name in VARIABLES]

ready = None


def note(value):
    global ready
    ready = value


def limits():
    """Returns what the libraries would read now, what they would have at import, and what the initializer noted."""
    return [os.environ.get(name) for name in VARIABLES], AT_IMPORT, ready


def blas_threads():
    """Returns how many threads the loaded libraries use, after having NumPy loaded."""
    import numpy as np
    import threadpoolctl

    np.ones((4, 4)) @ np.ones((4, 4))
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]


def name_of_process():
    import multiprocessing

    return multiprocessing.current_process().name
