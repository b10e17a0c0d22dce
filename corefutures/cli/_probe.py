"""The process of `corefutures backends --check`: it loads one backend and prints its status.

The status alone is written to standard output; what a plugin prints goes to standard error.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from corefutures.registry._registry import REGISTRY


def main(name: str) -> None:
    """Print the status of a backend as JSON.

    Args:
        name: The backend's name.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        answer.write(json.dumps(asdict(REGISTRY.check(name))))
        answer.flush()
    os._exit(0)  # threads that the plugin started are not waited for
