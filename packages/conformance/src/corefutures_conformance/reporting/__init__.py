"""Reports in each form: text for the terminal, HTML for reading, JSON and JUnit for programs."""
