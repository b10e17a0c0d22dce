"""Backends by name: their states, their discovery, every sentence that a refusal says."""
