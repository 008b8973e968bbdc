"""The page that says what came of an experiment: read (data), reckon (analysis), say (findings), draw, write."""
