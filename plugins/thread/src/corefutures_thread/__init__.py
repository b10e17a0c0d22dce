"""The thread backend of corefutures: `ThreadPoolExecutor`."""

from corefutures_thread._pool import ThreadPoolExecutor

__all__ = ["ThreadPoolExecutor"]
