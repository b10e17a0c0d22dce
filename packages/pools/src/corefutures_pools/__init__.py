"""What pools are made of: executors, futures, admission, helping, inspection; `workers` for isolated workers.

Every module here is public; this file imports nothing, because workers pass through it.
"""
