"""RL Baselines3 Zoo from a script: train with S7 and the settings of ``ppo_s7.yml``, then look at what came of it.

    pip install -c constraints.txt -e '.[zoo]'
    python examples/zoo_train_and_enjoy.py --env s7rl/CartPolePositionOnly-v0

takes the options of ``rl_zoo3.train``.  The zoo's own commands do the same in a folder with a file ``custom_envs.py``
whose one line is ``import s7rl.experiments.zoo``:

    python -m rl_zoo3.train --algo ppo_s7 --env s7rl/CartPolePositionOnly-v0
    python -m rl_zoo3.enjoy --algo ppo_s7 --env s7rl/CartPolePositionOnly-v0 -f logs --no-render
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from unittest.mock import patch

from rl_zoo3.enjoy import enjoy
from rl_zoo3.train import train

import s7rl.experiments.zoo


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the arguments say, and play 1,000 steps."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--env", default="s7rl/CartPolePositionOnly-v0")
    parser.add_argument("-f", "--log-folder", default="logs")
    options, others = parser.parse_known_args(arguments)
    common = ["--algo", s7rl.experiments.zoo.ALGORITHM, "--env", options.env, "-f", options.log_folder]
    run(train, [*common, *others])
    run(enjoy, [*common, "--no-render"])


def run(command: Callable[[], None], arguments: Sequence[str]) -> None:
    """Run a command of the zoo, which reads what was typed."""
    with patch.object(sys, "argv", [command.__name__, *arguments]):
        command()


if __name__ == "__main__":
    main()
