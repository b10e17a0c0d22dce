"""The users' door of corefutures: names only."""
