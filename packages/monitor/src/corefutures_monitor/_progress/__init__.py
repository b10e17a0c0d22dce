"""`progress` and `track`: the numbers (`counts`), who counts (`tracking`), the picture (`display`, `renderers`)."""
