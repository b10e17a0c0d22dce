"""Calls of code that isn't the pool's own: see `corefutures._foreign_code`.

Touches the core alone.
"""

from corefutures._foreign_code import (
    class_name as class_name,
    copied as copied,
    for_each as for_each,
    log_failure as log_failure,
    raises_again as raises_again,
)
