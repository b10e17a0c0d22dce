"""The thread backend of corefutures."""
