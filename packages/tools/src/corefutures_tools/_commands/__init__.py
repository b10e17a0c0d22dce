"""The commands `map`, `compare`, `new-backend` and `completion`: a file for each, imported when it is chosen."""
