"""Profiles of executors: `sampling` takes them, `page` draws them.

Nothing is imported here.
"""
