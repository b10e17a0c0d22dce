"""What pools do with exceptions: see `corefutures._exceptions`.

Touches the core alone.
"""

from corefutures._exceptions import add_note as add_note, drop_frame as drop_frame, set_cause as set_cause
