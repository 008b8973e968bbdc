"""A process that is killed while it saves leaves files that load, at whatever moment.

Mutation that was seen to fail: ``write_atomically`` writing into the file itself.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from s7rl.agents import RecurrentPPO, make_vec
from s7rl.files import write_atomically


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kills", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_however_often_it_is_killed_while_saving_it_leaves_a_loadable_checkpoint(tmp_path: Path, kills: int) -> None:
    env = make_vec("s7rl/TMazePassive-v0", 2, env_kwargs={"corridor_length": 6})
    model = RecurrentPPO("MlpPolicy", env, n_steps=8, policy_kwargs={"d_model": 8, "d_state": 4}, seed=0)
    model.learn(16)
    path = tmp_path / "run.zip"
    began = time.perf_counter()
    model.save(path, resumable=True)
    seconds = time.perf_counter() - began
    expected = model.policy.state_dict()["action_net.weight"].clone()
    rng = np.random.default_rng(0)
    unfinished = 0
    for _ in range(kills):
        child = os.fork()
        if not child:
            while True:
                model.save(path, resumable=True)
        time.sleep(rng.uniform(0, 3 * seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        unfinished += bool(list(tmp_path.glob(f".run.*.{child}")))
        for found in (RecurrentPPO.load(path), RecurrentPPO.resume(path, env)):
            assert found.num_timesteps == 16
            assert torch.equal(found.policy.state_dict()["action_net.weight"], expected)
    assert unfinished, "no kill fell into the writing of a file: the test shows nothing"


def test_a_file_is_replaced_as_a_whole_even_if_the_writer_dies_between_any_two_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    (tmp_path / f".file.{os.getpid()}").write_bytes(b"half of a ne")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
