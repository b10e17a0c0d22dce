"""Side-by-side figures: `python -m benchmarks [SUITE ...]`.

Each suite is a module here with a function `sheets`, made of what `measuring` offers.
"""
