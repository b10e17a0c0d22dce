"""Objects that a pool shares with its workers: their memory, and what a worker keeps of it."""
