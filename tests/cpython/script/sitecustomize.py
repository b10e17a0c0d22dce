"""What a script that a case starts executes first: the replacement of the standard classes."""

import os
import sys

_folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(_folder)
try:
    from replacement import install_in_script
finally:
    sys.path.remove(_folder)

install_in_script()
