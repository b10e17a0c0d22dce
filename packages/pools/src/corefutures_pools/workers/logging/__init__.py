"""Log records of workers, sent to the pool's process."""
