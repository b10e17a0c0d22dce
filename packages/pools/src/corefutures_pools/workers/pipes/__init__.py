"""The portable transport: one pipe and one thread for each worker."""
