"""What `corefutures backends --check` runs in a process of its own: load one backend and tell.

The answer is the only thing on standard output; whatever a plugin prints goes elsewhere.
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
