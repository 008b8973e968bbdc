"""A process that is killed while it saves leaves files that load, at whatever byte.

Mutation that was seen to fail: ``write_atomically`` writing into the file itself.
"""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from s7rl.agents import RecurrentPPO, make_vec
from s7rl.files import write_atomically


def _die_at_byte(size: int) -> None:
    """The kernel kills this process as soon as it writes byte ``size`` of any file (Python ignores it unasked)."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_at_whatever_byte_it_is_killed_while_saving_it_leaves_a_loadable_checkpoint(tmp_path: Path) -> None:
    env = make_vec("s7rl/TMazePassive-v0", 2, env_kwargs={"corridor_length": 6})
    model = RecurrentPPO("MlpPolicy", env, n_steps=8, policy_kwargs={"d_model": 8, "d_state": 4}, seed=0)
    model.learn(16)
    path = tmp_path / "run.zip"
    model.save(path, resumable=True)
    expected = model.policy.state_dict()["action_net.weight"].clone()
    for size in np.linspace(0, path.stat().st_size - 1, 10, dtype=int).tolist():
        child = os.fork()
        if not child:
            _die_at_byte(size)
            model.save(path, resumable=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGXFSZ
        (unfinished,) = tmp_path.glob(f".run.*.{child}")
        assert unfinished.stat().st_size == size
        for found in (RecurrentPPO.load(path), RecurrentPPO.resume(path, env)):
            assert found.num_timesteps == 16
            assert torch.equal(found.policy.state_dict()["action_net.weight"], expected)


def test_a_file_is_replaced_as_a_whole_even_if_the_writer_dies_between_any_two_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    (tmp_path / f".file.{os.getpid()}").write_bytes(b"half of a ne")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
