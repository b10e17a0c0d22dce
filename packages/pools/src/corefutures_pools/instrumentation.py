"""What pools tell observers: the core's instrumentation point, see `corefutures._instrumentation`.

Touches the core alone.
"""

from corefutures._instrumentation import audience as audience, name_of as name_of, origin_of as origin_of
