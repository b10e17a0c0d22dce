"""How conformant is everybody? `python -m tools.survey run|add|page`: a registry of reports, and pages."""
