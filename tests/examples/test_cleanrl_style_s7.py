"""The single-file PPO with a core learns, in little, and its advantages are right."""

from __future__ import annotations

import pytest
import torch

from examples.cleanrl_style_s7 import advantages_of, main

# What is typed is checked where it is tested; here that would take most of the time.
pytestmark = pytest.mark.usefixtures("as_users_run_it")


def test_it_learns_a_short_maze() -> None:
    # Seen to fail it: the scan from zeros in place of the first state and with resets shifted by a step; the sign of
    # the policy's loss turned.
    short = ["--corridor-length", "2", "--total-steps", "16000", "--num-envs", "16", "--num-steps", "32"]
    assert main([*short, "--d-model", "16", "--learning-rate", "0.005"]) > 0.9


def test_advantages_stop_where_an_episode_ends() -> None:
    # Seen to fail it: an ended step that bootstraps; a trace that goes on over it.
    rewards, values = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [1.0], [2.0]])
    ended = torch.tensor([[False], [True], [False]])
    got = advantages_of(rewards, values, torch.tensor([8.0]), ended, gamma=0.5, decay=0.5)
    # 4 + 8/2 - 2 = 6; 2 - 1 = 1, whatever follows; 1 + 1/2 - 1 + 1/4 = 0.75
    assert got.flatten().tolist() == pytest.approx([0.75, 1.0, 6.0])
