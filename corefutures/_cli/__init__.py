"""The commands that still live in the core's distribution; each is found by `corefutures.commands` in its own one's."""
