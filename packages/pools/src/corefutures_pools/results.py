"""The iterator of `map`: see `corefutures._results`.

Touches the core alone.
"""

from corefutures._results import (
    ResultIterator as ResultIterator,
    check_buffersize as check_buffersize,
    check_chunksize as check_chunksize,
    check_iterables as check_iterables,
)
