"""The models, by subject. Importing this enters all of them into `MODELS`, in this order."""

from __future__ import annotations

from importlib import import_module

from modelling import MODELS

for _subject in (
    "transitions", "waiting", "admission", "thread_pool", "helping", "task_queue", "calls", "reading", "losses",
    "spares", "corruption", "failing_starts", "endings", "streams", "slots", "forking",
):  # fmt: skip
    import_module(f"models.{_subject}")

__all__ = ["MODELS"]
