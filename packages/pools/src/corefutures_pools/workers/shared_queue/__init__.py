"""The transport of Linux: one shared task queue, and a result pipe for each worker."""
