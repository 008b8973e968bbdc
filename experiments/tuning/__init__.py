"""`s7rl tune`: the search for options to learn with, by Optuna."""
