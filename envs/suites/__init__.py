"""The collections of environments that ``make_env`` knows, one module each."""
