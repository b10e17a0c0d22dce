"""Backends by name: their states, their discovery, every sentence that a refusal says. The users' door has the names."""
