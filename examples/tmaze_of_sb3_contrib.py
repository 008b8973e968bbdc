"""How long a corridor sb3-contrib's RecurrentPPO remembers over, with the settings that `s7rl train` derives.

    pip install -c constraints.txt -e '.[contrib]'
    python examples/tmaze_of_sb3_contrib.py runs/sb3_contrib.csv --corridors 50 100 250 --seeds 0

Rollouts, minibatches, step size, discount and scaled rewards are those of `s7rl train --agent lstm`, or with --defaults
sb3-contrib's own (but for the number of environments, and the scaled rewards). The network is built as ours is: one
LSTM of 64 units for actor and critic, with their heads right behind it. (As sb3-contrib's comes it has two of 256 units
and hidden layers, and takes several times as long.) A training ends at its budget, or before once its last 100 episodes
return 0.98; then 100 episodes are played with the most likely actions, on seeds of their own. A line is added to the
file after each; those that it has are not repeated.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from s7rl.experiments.building import make_environments, make_vec_of, step_size
from s7rl.experiments.command_line import parse
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.evaluation import evaluation_envs, play_episodes
from s7rl.experiments.plan import plan
from s7rl.experiments.progress import has_learned, rollout_ends
from s7rl.experiments.settings import EVALUATION_SEED, RunSettings

BUDGETS = {50: 1_000_000, 100: 2_000_000, 250: 4_000_000, 500: 4_000_000, 1000: 8_000_000}
"""Training steps for each corridor, as in experiments/results/tmaze."""
EPISODES = 100
"""Of an evaluation."""
SAME = (
    "n_steps",
    "batch_size",
    "n_epochs",
    "gamma",
    "gae_lambda",
    "clip_range",
    "ent_coef",
    "vf_coef",
    "max_grad_norm",
)
"""Settings that both trainers have."""
COLUMNS = ("corridor_length", "seed", "budget", "settings", "success", "learned", "steps", "minutes")


class StopOnceLearned(BaseCallback):
    """Ends a training, before the update that could undo it, once its last episodes return enough."""

    def __init__(self, stop_return: float | None) -> None:
        super().__init__()
        self.stop_return = stop_return

    def _on_step(self) -> bool:
        return not (rollout_ends(self.locals) and has_learned(self.model, self.stop_return))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what the file lacks, and add a line to it for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="where the lines are added")
    parser.add_argument("--corridors", type=int, nargs="+", choices=BUDGETS, default=[50, 100, 250])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--defaults", action="store_true", help="sb3-contrib's own settings")
    parser.add_argument("--steps", type=int, help="of each training, in place of its budget")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not options.file.exists():
        add_line(options.file, COLUMNS)
    with options.file.open(newline="") as file:
        there = {tuple(line[name] for name in COLUMNS[:4]) for line in csv.DictReader(file)}
    names = "sb3-contrib" if options.defaults else "s7rl"
    for seed in options.seeds:
        for corridor in options.corridors:
            budget = options.steps or BUDGETS[corridor]
            run = (str(corridor), str(seed), str(budget), names)
            if run not in there:
                result = train(settings_for(corridor, seed, budget), defaults=options.defaults)
                add_line(options.file, (*run, *result))


def add_line(path: Path, cells: Sequence[object]) -> None:
    """Add a line to a table."""
    with path.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(cells)


def settings_for(corridor: int, seed: int, steps: int) -> RunSettings:
    """What `s7rl train` chooses for the core ``lstm``."""
    task = ["s7rl/TMazePassive-v0", "--env-kwargs", f"corridor_length={corridor}", "--steps", str(steps)]
    request = parse(["train", *task, "--agent", "lstm", "--seed", str(seed), "--stop-return", "0.98"])
    assert isinstance(request, TrainConfig)
    settings, *_ = plan(request)
    return settings


def train(settings: RunSettings, *, defaults: bool) -> tuple[object, ...]:
    """Train, play, and return the cells of a line that the others say nothing of."""
    env = make_environments(settings)
    assert isinstance(env, VecNormalize)  # rewards, not observations: the evaluation needs no scales
    assert not env.norm_obs
    ours = {name: getattr(settings, name) for name in SAME} | {"learning_rate": step_size(settings)}
    network = {"lstm_hidden_size": settings.d_model, "shared_lstm": True, "enable_critic_lstm": False, "net_arch": []}
    options = {} if defaults else ours
    model = RecurrentPPO("MlpLstmPolicy", env, policy_kwargs=network, seed=settings.seed, device="cpu", **options)
    began = time.monotonic()
    model.learn(settings.steps, StopOnceLearned(settings.stop_return))
    minutes = (time.monotonic() - began) / 60
    learned = has_learned(model, settings.stop_return)
    (evaluation,) = play_episodes(model, make_vec_of(settings, evaluation_envs(EPISODES), EVALUATION_SEED), EPISODES)
    return evaluation.success_rate, learned, model.num_timesteps, round(minutes, 1)


if __name__ == "__main__":
    main()
