"""What the runs of run.sh came to, as CSV: where training ended, and how it went on the whole.

Usage: summarise.py DIR > results.csv.  Scores are shares of the way from the best score without memory (0) to the
optimum (1): ``mean`` over all of the training, ``end`` over its last five rollouts.
"""

import csv
import sys
from pathlib import Path

BOUNDS = {"cartpole": (50.0, 500.0), "tmaze-200": (0.5, 1.0), "repeat-previous": (-0.5, 1.0)}
RETURN = "rollout/ep_rew_mean"

table = csv.writer(sys.stdout)
table.writerow(["option", "task", "seed", "mean", "end"])
for task, (memoryless, optimum) in BOUNDS.items():
    for run in sorted(Path(sys.argv[1], task).iterdir()):
        with (run / "progress.csv").open(newline="") as file:
            returns = [float(line[RETURN]) for line in csv.DictReader(file) if line.get(RETURN)]
        shares = [max(0.0, (value - memoryless) / (optimum - memoryless)) for value in returns]
        option, _, seed = run.name.rpartition("-")
        table.writerow(
            [option, task, seed, f"{sum(shares) / len(shares):.3f}", f"{sum(shares[-5:]) / len(shares[-5:]):.3f}"]
        )
