"""Timelines: `recording` writes them while a program runs, `reading` reads them, `page` draws them.

Nothing is imported here.
"""
