"""How conformant is everybody? `python -m tools.survey NAME…` certifies, and writes docs/survey.md."""
