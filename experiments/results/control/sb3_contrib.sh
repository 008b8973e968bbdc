#!/usr/bin/env bash
# S7 and sb3-contrib's RecurrentPPO with the settings that rl-baselines3-zoo tuned for each task, in turn, one thread
# each: sb3_contrib.sh DIR SEED... > sb3_contrib.csv.  Needs: pip install -c constraints.txt '.[zoo]'
set -euo pipefail
dir=$1
shift
export OMP_NUM_THREADS=1

both() { # both OURS ZOO STEPS
    s7rl train "s7rl/$1-v0" --steps "$3" --seed "$seed" --workers loop --threads 1 --out "$dir/s7/$1-$seed"
    python -m rl_zoo3.train --algo ppo_lstm --env "$2" --n-timesteps "$3" --seed "$seed" --num-threads 1 \
        --eval-freq -1 --save-freq -1 --log-folder "$dir/ppo_lstm/$1-$seed"
}

mkdir -p "$dir/s7"
s7rl train s7rl/CartPolePositionOnly-v0 --steps 1000 --threads 1 --out "$dir/warm-up" >&2 # compiles the kernels, once
for seed in "$@"; do
    both CartPolePositionOnly CartPoleNoVel-v1 100000
    both PendulumPositionOnly PendulumNoVel-v1 100000
    both MountainCarContinuousPositionOnly MountainCarContinuousNoVel-v0 300000
done >&2

# The mean return of the last 100 training episodes, along the way, and that of 100 episodes afterwards, most likely
# action, fresh seeds.
python - "$dir" <<'PYTHON'
import csv
import json
import sys
from pathlib import Path

import rl_zoo3.import_envs  # noqa: F401
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import VecNormalize

POINTS = 20
table = csv.writer(sys.stdout)
table.writerow(["task", "agent", "seed", "steps", "seconds", "training_return", "final_return"])


def write(task, agent, seed, curve, final):
    for steps, seconds, value in curve[:: max(1, len(curve) // POINTS)]:
        table.writerow([task, agent, seed, steps, f"{seconds:.1f}", f"{value:.2f}", ""])
    steps, seconds, value = curve[-1]
    table.writerow([task, agent, seed, steps, f"{seconds:.1f}", f"{value:.2f}", f"{final:.2f}"])


for run in sorted(Path(sys.argv[1], "s7").iterdir()):
    task, _, seed = run.name.rpartition("-")
    with (run / "progress.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line.get("rollout/ep_rew_mean")]
    columns = "time/total_timesteps", "time/time_elapsed", "rollout/ep_rew_mean"
    curve = [(int(float(line[columns[0]])), *(float(line[name]) for name in columns[1:])) for line in lines]
    write(task, "s7", seed, curve, json.loads((run / "evaluation.json").read_text())["mean_return"])

for parent in sorted(Path(sys.argv[1], "ppo_lstm").iterdir()):
    task, _, seed = parent.name.rpartition("-")
    (run,) = (path for path in (parent / "ppo_lstm").iterdir() if path.is_dir())
    env_id = run.name.rpartition("_")[0]
    episodes = load_results(str(run))  # sorted by the time at which they ended
    steps, means = episodes["l"].cumsum(), episodes["r"].rolling(100, min_periods=1).mean()
    curve = list(zip(steps, episodes["t"], means, strict=True))
    env = VecNormalize.load(run / env_id / "vecnormalize.pkl", make_vec_env(env_id, 20, seed=10_000))
    env.training = env.norm_reward = False
    final, _ = evaluate_policy(RecurrentPPO.load(run / f"{env_id}.zip"), env, n_eval_episodes=100, deterministic=True)
    write(task, "ppo_lstm", seed, curve, final)
PYTHON
