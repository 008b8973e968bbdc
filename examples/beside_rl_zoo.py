"""S7 beside sb3-contrib's RecurrentPPO with the settings that rl-baselines3-zoo tuned for each task, in turn.

    pip install -c constraints.txt '.[zoo]'
    python examples/beside_rl_zoo.py runs/beside_rl_zoo --seeds 0 1 2

trains both on the tasks without velocities, one torch thread each, and leaves a table and its picture: the mean return
of the last 100 training episodes along the way, and that of 100 episodes afterwards, most likely action, fresh seeds.
Runs that are there already are not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import rl_zoo3.import_envs  # noqa: F401 - registers the zoo's environments
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from s7rl.experiments.pictures import BLUE, ORANGE, lighten, save_figure

TASKS = {
    "CartPolePositionOnly": ("CartPoleNoVel-v1", 100_000),
    "PendulumPositionOnly": ("PendulumNoVel-v1", 100_000),
    "MountainCarContinuousPositionOnly": ("MountainCarContinuousNoVel-v0", 300_000),
}
"""Our name of each task: the zoo's, and the zoo's training steps."""
AGENTS = {"s7": ("s7", BLUE), "ppo_lstm": ("sb3-contrib, tuned by the zoo", ORANGE)}
POINTS = 100
"""Of a curve, at most."""
EVALUATION_SEED, EPISODES, AT_ONCE = 10_000, 100, 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, read what was left, write the table and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the runs, the table and the picture are left")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", type=int, help="of each training, in place of the zoo's")
    options = parser.parse_args(arguments)
    curves = []
    for seed in options.seeds:
        for task in options.tasks:
            env_id, steps = TASKS[task]
            for agent, learn, read in (("s7", learn_s7, read_s7), ("ppo_lstm", learn_zoo, read_zoo)):
                run = options.folder / agent / f"{task}-{seed}"
                if not run.exists():
                    learn(run, f"s7rl/{task}-v0" if agent == "s7" else env_id, options.steps or steps, seed)
                curves.append(read(run).assign(task=task, agent=agent, seed=seed))
    table = pd.concat(curves)[["task", "agent", "seed", "steps", "seconds", "training_return", "final_return"]]
    table.round(2).to_csv(options.folder / "beside_rl_zoo.csv", index=False, lineterminator="\n")
    draw(table, options.folder / "beside_rl_zoo.png")


def learn_s7(run: Path, env_id: str, steps: int, seed: int) -> None:
    """Train with the preset of the suite."""
    words = ["train", env_id, "--steps", steps, "--seed", seed, "--workers", "loop", "--threads", 1]
    call(Path(sys.executable).with_name("s7rl"), *words, "--out", run)


def learn_zoo(run: Path, env_id: str, steps: int, seed: int) -> None:
    """Train with the settings of the zoo."""
    words = ["--algo", "ppo_lstm", "--env", env_id, "--n-timesteps", steps, "--seed", seed, "--num-threads", 1]
    call(sys.executable, "-m", "rl_zoo3.train", *words, "--eval-freq", -1, "--save-freq", -1, "--log-folder", run)


def call(*words: object) -> None:
    """Run a command, one thread for whatever counts them by OpenMP."""
    subprocess.run([*map(str, words)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def read_s7(run: Path) -> pd.DataFrame:
    """The curve of a run of ``s7rl train``, and what its evaluation said."""
    log = pd.read_csv(run / "progress.csv").dropna(subset="rollout/ep_rew_mean")
    points = log[["time/total_timesteps", "time/time_elapsed", "rollout/ep_rew_mean"]].to_numpy()
    return curve(points, json.loads((run / "evaluation.json").read_text())["mean_return"])


def read_zoo(run: Path) -> pd.DataFrame:
    """The curve of a run of ``rl_zoo3.train``, and how its agent plays."""
    (folder,) = (path for path in (run / "ppo_lstm").iterdir() if path.is_dir())
    env_id = folder.name.rpartition("_")[0]
    episodes = load_results(str(folder))  # in the order in which they ended
    returns = episodes["r"].rolling(100, min_periods=1).mean()
    env: VecEnv = make_vec_env(env_id, AT_ONCE, seed=EVALUATION_SEED)
    scales = folder / env_id / "vecnormalize.pkl"
    if scales.exists():
        env = VecNormalize.load(str(scales), env)
        env.training = env.norm_reward = False
    final, _ = evaluate_policy(RecurrentPPO.load(folder / f"{env_id}.zip"), env, EPISODES)
    assert isinstance(final, float)
    return curve(np.stack([episodes["l"].cumsum(), episodes["t"], returns], axis=1), final)


def curve(points: NDArray[np.float64], final: float) -> pd.DataFrame:
    """Some lines of a run: steps, seconds, return; the last one has the final return, too."""
    lines = pd.DataFrame(points, columns=["steps", "seconds", "training_return"]).astype({"steps": int})
    lines = pd.concat([lines.iloc[: -1 : max(1, len(lines) // POINTS)], lines.iloc[-1:]])
    lines["final_return"] = [np.nan] * (len(lines) - 1) + [final]
    return lines


def draw(table: pd.DataFrame, picture: Path) -> None:
    """The training's return over steps and over minutes, a column for each task."""
    tasks = table["task"].unique()
    figure = Figure(figsize=(3.6 * len(tasks), 5.2), layout="constrained", dpi=160)
    panels = figure.subplots(2, len(tasks), squeeze=False, sharey="col")
    for (over_steps, over_time), task in zip(panels.T, tasks, strict=True):
        for agent, (name, colour) in AGENTS.items():
            runs = table[(table["task"] == task) & (table["agent"] == agent)]
            for number, (_, run) in enumerate(runs.groupby("seed")):
                label = name if number == 0 else None
                over_steps.plot(run["steps"] / 1e3, run["training_return"], color=colour, label=label)
                over_time.plot(run["seconds"] / 60, run["training_return"], color=colour)
        over_steps.set(title=task, xlabel="thousand steps")
        over_time.set(xlabel="minutes")
        lighten(over_steps)
        lighten(over_time)
    for first in panels[:, 0]:
        first.set_ylabel("return, last 100 episodes")
    panels[0, 0].legend(frameon=False, fontsize=8)
    save_figure(figure, picture)


if __name__ == "__main__":
    main()
