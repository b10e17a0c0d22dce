"""How conformant is everybody? `python -m tools.survey NAME…` certifies, and writes survey/README.md."""
