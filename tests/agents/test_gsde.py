"""State-dependent exploration (gSDE) with memory.

Mutations that were seen to fail these tests: noise never drawn anew; noise drawn anew at every step; squashed actions
not scaled to the bounds; the noise of a loaded agent, or of one that took over parameters, left as its constructor drew
it; torch's check of the deviations left on; an older noise kept where they are 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from torch import Tensor

from s7rl.agents import NumericalError, RecurrentPPO
from s7rl.agents.rollout_buffer import minibatches
from tests.agents.clockwork import agent, clockworks
from tests.agents.cores import every_core

BOX = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([3.0, 0.5], np.float32))


def explorer(core: str = "s7", **options: Any) -> RecurrentPPO:
    policy_kwargs = options.pop("policy_kwargs", {})
    env = clockworks(4, action_space=BOX)
    return agent(env, core=core, use_sde=True, policy_kwargs={"log_std_init": -1.0, **policy_kwargs}, **options)


@every_core
@pytest.mark.parametrize("policy_kwargs", [{}, {"squash_output": True}, {"full_std": False, "use_expln": True}])
def test_before_the_first_gradient_step_the_ratio_is_1(core: str, policy_kwargs: dict[str, Any]) -> None:
    model = explorer(core, n_steps=10, batch_size=20, sde_sample_freq=4, policy_kwargs=policy_kwargs)
    model.learn(40)
    for batch in minibatches(model.rollout_buffer.sequences(), 2):
        _, log_probs, entropies, _ = model.policy.evaluate_actions(
            batch.observations, batch.actions, batch.initial_state, batch.episode_starts
        )
        torch.testing.assert_close((log_probs - batch.log_probs).exp(), torch.ones(10, 2), rtol=0, atol=1e-4)
        assert (entropies is None) == ("squash_output" in policy_kwargs)
    assert abs(model.logger.name_to_value["train/approx_kl"]) < 1e-5
    assert model.logger.name_to_value["train/std"] > 0.0


@pytest.mark.parametrize(("frequency", "draws"), [(-1, [0, 10]), (4, [0, 4, 8, 10, 14, 18]), (1, list(range(20)))])
def test_noise_is_drawn_anew_when_a_rollout_begins_and_as_often_as_asked(frequency: int, draws: list[int]) -> None:
    model = explorer(n_steps=10, sde_sample_freq=frequency)
    seen: list[Tensor] = []

    def look(locals_: dict[str, Any], _: Any) -> bool:
        assert isinstance(model.policy.action_dist, StateDependentNoiseDistribution)
        seen.append(model.policy.action_dist.exploration_matrices.clone())
        return True

    model.learn(80, callback=look)
    changed = [t for t in range(20) if t == 0 or not torch.equal(seen[t], seen[t - 1])]
    assert changed == draws


def test_the_noise_of_an_action_follows_from_what_the_memory_holds() -> None:
    model = explorer(n_steps=8)
    model.learn(32)
    buffer, policy = model.rollout_buffer, model.policy
    distribution = policy.action_dist
    assert isinstance(distribution, StateDependentNoiseDistribution)
    batch = buffer.sequences()
    latent, _, _ = policy._recur(batch.observations, batch.initial_state, batch.episode_starts)
    latent = policy.mlp_extractor.forward_actor(latent).view(8, 4, -1)
    noise = torch.einsum("tbh,bha->tba", latent, distribution.exploration_matrices)
    torch.testing.assert_close(buffer.actions, policy.action_net(latent) + noise, rtol=1e-4, atol=1e-5)


def test_squashed_actions_reach_the_environment_within_its_bounds() -> None:
    env = clockworks(3, action_space=BOX)
    options = {"squash_output": True, "log_std_init": 1.0}
    model = agent(env, use_sde=True, n_steps=30, sde_sample_freq=1, policy_kwargs=options)
    model.learn(90)
    for row, single in enumerate(env.envs):
        received = np.stack(single.received)  # type: ignore[attr-defined]
        assert (received >= BOX.low).all()
        assert (received <= BOX.high).all()
        squashed = model.rollout_buffer.actions[:, row].numpy()
        np.testing.assert_allclose(received, BOX.low + 0.5 * (squashed + 1.0) * (BOX.high - BOX.low), rtol=1e-5)
        assert np.ptp(received[:, 0]) > 1.0


def test_predict_explores_with_the_noise_too_and_the_mean_does_not() -> None:
    model = explorer(n_steps=8)
    model.learn(32)
    obs = np.ones((4, 3), np.float32)
    mean, _ = model.predict(obs, deterministic=True)
    noisy, _ = model.predict(obs)
    assert not np.allclose(mean, noisy)
    np.testing.assert_array_equal(mean, model.predict(obs, deterministic=True)[0])


@pytest.mark.parametrize("frequency", [-1, 3])
def test_play_draws_noise_as_often_as_rollouts_do(frequency: int) -> None:
    model = explorer(n_steps=5, sde_sample_freq=frequency)
    assert isinstance(model.policy.action_dist, StateDependentNoiseDistribution)
    changed, before = [], None
    for step in range(12):
        model.renew_noise(step, 2)
        noise = model.policy.action_dist.exploration_matrices
        changed += [] if noise is before else [step]
        before = noise
    assert changed == ([0, 5, 10] if frequency < 0 else [0, 3, 6, 9])


def saved_and_loaded(log_std: float, tmp_path: Path) -> RecurrentPPO:
    """An agent with these deviations."""
    model = explorer(n_steps=8)
    with torch.no_grad():
        model.policy.log_std.fill_(log_std)
    model.save(tmp_path / "agent")
    return RecurrentPPO.load(tmp_path / "agent")


@pytest.mark.parametrize("way", ["load", "set_parameters", "get_parameters"])
def test_a_loaded_agent_explores_as_widely_as_it_learned_to(way: str, tmp_path: Path) -> None:
    model = explorer(n_steps=8)
    with torch.no_grad():
        model.policy.log_std.fill_(-9.0)
    model.save(tmp_path / "agent")
    if way == "load":
        loaded = RecurrentPPO.load(tmp_path / "agent")
    else:
        loaded = explorer(n_steps=8)
        loaded.set_parameters(str(tmp_path / "agent") if way == "set_parameters" else model.get_parameters())
    obs = np.ones((4, 3), np.float32)
    noisy, mean = (loaded.predict(obs, deterministic=deterministic)[0] for deterministic in (False, True))
    assert 0.0 < np.abs(noisy - mean).max() < 0.01


def test_deviations_that_are_0_explore_nothing(tmp_path: Path) -> None:
    loaded = saved_and_loaded(-200.0, tmp_path)
    loaded.renew_noise(0, 4)
    obs = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(loaded.predict(obs)[0], loaded.predict(obs, deterministic=True)[0])


def test_deviations_that_are_nan_are_told_when_the_agent_acts(tmp_path: Path) -> None:
    loaded = saved_and_loaded(float("nan"), tmp_path)
    loaded.renew_noise(0, 4)
    with pytest.raises(NumericalError, match="nan"):
        loaded.predict(np.ones((4, 3), np.float32))
