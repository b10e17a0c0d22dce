"""What pools tell observers: the core's instrumentation point, see `corefutures._instrumentation`.

Touches the core alone.
"""

from corefutures._instrumentation import (
    executor_info as executor_info,
    instrumentation as instrumentation,
    name_of as name_of,
)
