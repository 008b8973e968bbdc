"""S7 learns in RLlib's PPO, on a Ray of its own: skipped where RLlib is not installed, and it takes a minute.

Mutations tried, each of which fails a test here: a reset at each step of a sequence; the critic's core cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray.rllib", reason="RLlib is not installed: pip install 's7rl[rllib]'")

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from s7rl.agents.rllib import S7RLModule

pytestmark = pytest.mark.slow
MODULE = "default_policy"


@pytest.fixture(scope="module", autouse=True)
def a_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # Workers look into this folder first, and the tree's has an s7rl without agents.
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        ray.init(num_cpus=2, include_dashboard=False)
    yield
    ray.shutdown()


def config(**model_config: str) -> PPOConfig:
    options = {"d_model": 16, "max_seq_len": 5} | model_config  # episodes have 8 steps at most: they are cut
    return (
        PPOConfig()
        .environment("s7rl.envs:s7rl/TMazePassive-v0", env_config={"corridor_length": 3})
        .env_runners(num_env_runners=1, num_envs_per_env_runner=4)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=S7RLModule, model_config=options))
        .training(train_batch_size_per_learner=256, minibatch_size=None, num_epochs=1, lr=1e-3)
        .debugging(seed=0)
    )


def test_the_first_divergence_of_an_update_is_0_and_every_weight_learns_and_goes_to_the_worker() -> None:
    algorithm = config(critic_core="separate").build_algo()
    for _ in range(3):
        before = algorithm.get_module().get_state()
        learner = algorithm.train()["learners"][MODULE]
        # The update's one pass sees the logits of the rollout, its states and its weights.
        assert abs(learner["mean_kl_loss"]) < 1e-7
        assert np.isfinite(learner["total_loss"])
    after = algorithm.learner_group.get_weights()[MODULE]
    learned = [name for name, _ in algorithm.get_module().named_parameters()]
    unmoved = [name for name in learned if np.array_equal(after[name], before[name])]
    assert len(learned) > 20
    assert unmoved == []
    (worker,) = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.module.get_state(), local_env_runner=False
    )
    assert worker.keys() == after.keys()
    assert all(np.array_equal(worker[name], after[name]) for name in after)
    algorithm.stop()


@pytest.mark.parametrize("core", ["gru", "lru", "mamba"])
def test_other_cores_train_in_it(core: str) -> None:
    algorithm = config(core=core).build_algo()
    assert np.isfinite(algorithm.train()["learners"][MODULE]["total_loss"])
    algorithm.stop()


def test_a_checkpoint_of_rllibs_gives_the_same_agent(tmp_path: Path) -> None:
    algorithm = config().build_algo()
    algorithm.train()
    algorithm.save_to_path(tmp_path / "agent")
    wanted = algorithm.learner_group.get_weights()[MODULE]
    algorithm.stop()
    again = Algorithm.from_checkpoint(tmp_path / "agent")
    found = again.learner_group.get_weights()[MODULE]
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert np.isfinite(again.train()["learners"][MODULE]["total_loss"])
    again.stop()
