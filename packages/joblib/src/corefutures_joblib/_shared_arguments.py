"""Large arguments of calls: each is sent to a worker once, in place of joblib's files in a temporary folder."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any


class SharedArguments:
    """The shared arguments of one `Parallel`.

    An argument is shared when it is an array of at least `max_nbytes` bytes and stands in a call's arguments, or in a
    list, tuple or dict there. Workers get a view that can't be written, as they do from joblib.

    Thread safety: joblib submits under its own lock.
    """

    def __init__(self, executor: Executor, max_nbytes: int) -> None:
        """Share through `executor.share`, which the backend must have: its capability `shares_objects`."""
        self._share: Any = executor.share  # type: ignore[attr-defined]
        self._max_nbytes = max_nbytes
        self._handles: dict[int, tuple[Any, Any]] = {}  # by the array's identity: the array, which so keeps it; handle

    def replace_in(self, batch: Any) -> None:
        """Put handles in the place of large arrays in a batch of joblib, before it is pickled."""
        batch.items = [(fn, self._replaced(args), self._replaced(kwargs)) for fn, args, kwargs in batch.items]

    def close(self) -> None:
        """Free everything that was shared."""
        handles, self._handles = self._handles, {}
        for _, handle in handles.values():
            handle.close()

    def _replaced(self, value: Any) -> Any:
        kind = type(value)
        if kind is tuple or kind is list:
            parts = [self._replaced(part) for part in value]
            changed = any(new is not old for new, old in zip(parts, value, strict=True))
            return kind(parts) if changed else value
        if kind is dict:
            parts_of = {key: self._replaced(part) for key, part in value.items()}
            return parts_of if any(parts_of[key] is not part for key, part in value.items()) else value
        return self._handle(value) if self._is_large(value) else value

    def _is_large(self, value: Any) -> bool:
        """Return whether a value is an array of the size; a `numpy.memmap` is not, workers map its file."""
        if type(value).__module__ != "numpy" or type(value).__name__ != "ndarray":
            return False
        return value.nbytes >= self._max_nbytes and not value.dtype.hasobject

    def _handle(self, array: Any) -> Any:
        found = self._handles.get(id(array))
        if found is None:
            found = self._handles[id(array)] = (array, self._share(array))
        return found[1]
