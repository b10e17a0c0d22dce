"""What runs in workers: in other threads, processes and interpreters.

These modules import neither pytest nor hypothesis nor anything heavy, `typing` and `concurrent.futures` included: each
new interpreter of a pool imports all again. Everything here is found by name, so it crosses any boundary that pickle
crosses.
"""
