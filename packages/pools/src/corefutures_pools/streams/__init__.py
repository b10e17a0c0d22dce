"""Streams: generators that run in a pool, and whose items arrive while they run."""
