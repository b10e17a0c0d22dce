"""The commands `map`, `compare` and `new-backend`: a file for each, imported when it is chosen."""
