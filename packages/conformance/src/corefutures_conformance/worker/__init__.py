"""What runs in workers: in other threads, processes and interpreters.

These modules import neither pytest nor hypothesis nor anything heavy; everything here is found by name, so
it crosses any boundary that pickle crosses.
"""
