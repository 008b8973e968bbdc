#!/usr/bin/env bash
# Train S7 with one option changed at a time, and sum up: run.sh DIR SEED... > results.csv
set -euo pipefail
dir=$1
shift

train() { # train NAME OPTION...: one agent on each of the three tasks
    local name=$1
    shift
    s7rl train s7rl/CartPolePositionOnly-v0 --steps 50000 --seed "$seed" --out "$dir/cartpole/$name-$seed" "$@"
    s7rl train s7rl/TMazePassive-v0 --env-kwargs corridor_length=200 --steps 1000000 --seed "$seed" \
        --n-envs 32 --vf-coef 0.5 --out "$dir/tmaze-200/$name-$seed" "$@"
    s7rl train s7rl/RepeatPrevious-v0 --steps 1000000 --seed "$seed" \
        --vf-coef 0.5 --out "$dir/repeat-previous/$name-$seed" "$@"
}

mkdir -p "$dir"/{cartpole,tmaze-200,repeat-previous}
for seed in "$@"; do
    train defaults
    train rank=16 --core-kwargs rank=16
    train rank=4 --core-kwargs rank=4
    train selectivity=low_rank --core-kwargs selectivity=low_rank
    train rotation=0 --core-kwargs rotation=0.0
    train rotation=1 --core-kwargs rotation=1.0
    train angle_spread=log --core-kwargs angle_spread=log
    train learn_angles=true --core-kwargs learn_angles=true
    train token_shift=none --core-kwargs token_shift=None
    train input_scale=0 --core-kwargs input_scale=0.0
    train input_scale=0.5 --core-kwargs input_scale=0.5
    train allow_negative=false --core-kwargs allow_negative=false
    train dynamics_lr_factor=0.1 --dynamics-lr-factor 0.1
    train dynamics_lr_factor=10 --dynamics-lr-factor 10
done >&2

# Shares of the way from the best score without memory (0) to the optimum (1): over all of the training, and at its end.
python - "$dir" <<'PYTHON'
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
PYTHON
