"""S7 beside sb3-contrib's RecurrentPPO with the settings that rl-baselines3-zoo tuned for each task, in turn.

    pip install -c constraints.txt -e '.[zoo]'
    python examples/beside_rl_zoo.py runs/beside_rl_zoo --seeds 0 1 2 3 4

trains both on the tasks without velocities, one torch thread each, and leaves a table and its picture: the mean return
of the last 100 training episodes along the way, and that of 100 episodes afterwards, most likely action, fresh seeds.
Trainings that are finished are not repeated. The first of S7 on a machine compiles its kernels in the time it takes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

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

from s7rl.experiments.learning_curve import RETURN, read_columns
from s7rl.experiments.pictures import BLUE, ORANGE, lighten, save_figure
from s7rl.experiments.run_folder import STEPS
from s7rl.experiments.settings import EVALUATION_SEED

TASKS = {
    "CartPolePositionOnly": ("CartPoleNoVel-v1", 100_000),
    "PendulumPositionOnly": ("PendulumNoVel-v1", 100_000),
    "MountainCarContinuousPositionOnly": ("MountainCarContinuousNoVel-v0", 300_000),
}
"""Our name of each task: the zoo's, and the zoo's training steps."""
POINTS = 100
"""Of a curve, at most."""
SECONDS = "time/time_elapsed"
EPISODES, NUM_ENVS = 100, 20
"""Of an evaluation."""


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
            steps = options.steps or TASKS[task][1]
            for name, agent in AGENTS.items():
                run = options.folder / name / f"{task}-{steps}-{seed}"
                if not run.exists():
                    unfinished = run.with_name(f"{run.name}-unfinished")
                    shutil.rmtree(unfinished, ignore_errors=True)
                    agent.train(unfinished, task, steps, seed)
                    unfinished.rename(run)
                curves.append(agent.read(run, task).assign(task=task, agent=name, seed=seed))
    table = pd.concat(curves)[["task", "agent", "seed", "steps", "seconds", "training_return", "final_return"]]
    table.round(2).to_csv(options.folder / "beside_rl_zoo.csv", index=False, lineterminator="\n")
    draw(table, options.folder / "beside_rl_zoo.png")


def train_s7(run: Path, task: str, steps: int, seed: int) -> None:
    """Train with the preset of the suite."""
    words = ["train", f"s7rl/{task}-v0", "--steps", steps, "--seed", seed, "--workers", "loop", "--threads", 1]
    call(Path(sys.executable).with_name("s7rl"), *words, "--out", run)


def train_zoo(run: Path, task: str, steps: int, seed: int) -> None:
    """Train with the settings of the zoo."""
    words = ["--algo", "ppo_lstm", "--env", TASKS[task][0], "--n-timesteps", steps, "--seed", seed, "--num-threads", 1]
    call(sys.executable, "-m", "rl_zoo3.train", *words, "--eval-freq", -1, "--save-freq", -1, "--log-folder", run)


def call(*words: object) -> None:
    """Run a command, one thread for whatever counts them by OpenMP."""
    subprocess.run([*map(str, words)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def read_s7(run: Path, task: str) -> pd.DataFrame:
    """The curve of a run of ``s7rl train``, and what its evaluation said."""
    log = read_columns(run / "progress.csv", (STEPS, SECONDS, RETURN))
    known = np.isfinite(log[RETURN])
    evaluated = json.loads((run / "evaluation.json").read_text())["mean_return"]
    return curve(log[STEPS][known], log[SECONDS][known], log[RETURN][known], evaluated)


def read_zoo(run: Path, task: str) -> pd.DataFrame:
    """The curve of a run of ``rl_zoo3.train``, and the return of its agent, which plays for that."""
    env_id, _ = TASKS[task]
    folder = run / "ppo_lstm" / f"{env_id}_1"
    episodes = load_results(str(folder))  # in the order in which they ended
    returns = episodes["r"].rolling(100, min_periods=1).mean()
    env: VecEnv = make_vec_env(env_id, NUM_ENVS, seed=EVALUATION_SEED)
    scales = folder / env_id / "vecnormalize.pkl"
    if scales.exists():
        env = VecNormalize.load(str(scales), env)
        env.training = env.norm_reward = False
    evaluated, _ = evaluate_policy(RecurrentPPO.load(folder / f"{env_id}.zip"), env, EPISODES)
    assert isinstance(evaluated, float)
    return curve(episodes["l"].cumsum().to_numpy(), episodes["t"].to_numpy(), returns.to_numpy(), evaluated)


def curve(
    steps: NDArray[np.float64], seconds: NDArray[np.float64], returns: NDArray[np.float64], evaluated: float
) -> pd.DataFrame:
    """At most ``POINTS`` lines of a run; the last one has the return of the evaluation, too."""
    lines = pd.DataFrame({"steps": steps.astype(int), "seconds": seconds, "training_return": returns})
    lines = lines.iloc[np.unique(np.linspace(0, len(lines) - 1, POINTS).astype(int))].copy()
    lines.loc[lines.index[-1], "final_return"] = evaluated
    return lines


def draw(table: pd.DataFrame, picture: Path) -> None:
    """The training's return over steps and over minutes, a column for each task."""
    tasks = table["task"].unique()
    figure = Figure(figsize=(3.4 * len(tasks), 5.0), layout="constrained", dpi=110)
    panels = figure.subplots(2, len(tasks), squeeze=False, sharey="col")
    for (over_steps, over_time), task in zip(panels.T, tasks, strict=True):
        for name, agent in AGENTS.items():
            runs = table[(table["task"] == task) & (table["agent"] == name)]
            for number, (_, run) in enumerate(runs.groupby("seed")):
                label = agent.label if number == 0 else None
                over_steps.plot(run["steps"] / 1e3, run["training_return"], color=agent.colour, label=label)
                over_time.plot(run["seconds"] / 60, run["training_return"], color=agent.colour)
        over_steps.set(title=task, xlabel="thousand steps")
        over_time.set(xlabel="minutes")
        lighten(over_steps)
        lighten(over_time)
    for first in panels[:, 0]:
        first.set_ylabel("return, last 100 episodes")
    panels[0, 0].legend(frameon=False, fontsize=8)
    save_figure(figure, picture)


class Agent(NamedTuple):
    """One of the two."""

    label: str
    colour: str
    train: Callable[[Path, str, int, int], None]
    read: Callable[[Path, str], pd.DataFrame]


AGENTS = {
    "s7": Agent("s7", BLUE, train_s7, read_s7),
    "ppo_lstm": Agent("sb3-contrib, tuned by the zoo", ORANGE, train_zoo, read_zoo),
}

if __name__ == "__main__":
    main()
