"""What is run on this repository, and not shipped."""
