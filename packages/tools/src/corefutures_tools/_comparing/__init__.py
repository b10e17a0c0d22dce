"""Choosing a backend: a sample of the calls on a plain loop and on every backend, and a recommendation.

`compare` plans, `trial_process` starts and watches, `trial` measures inside, `verdict` decides, `report` and
`picture` show.
Imports nothing: workers that run the probes pass through this file.
"""
