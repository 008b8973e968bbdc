"""Parameters that set the core's time scales get a learning rate of their own and no weight decay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from s7rl.agents import RecurrentPPO, make_vec

SMALL = {"d_model": 8, "d_state": 4}


def agent(core: str = "s7", **policy_kwargs: Any) -> RecurrentPPO:
    env = make_vec("s7rl/TMazePassive-v0", n_envs=2, seed=0, env_kwargs={"corridor_length": 3})
    kwargs = {**SMALL, "core": core, **policy_kwargs}
    return RecurrentPPO("MlpPolicy", env, n_steps=16, learning_rate=0.01, policy_kwargs=kwargs, seed=0, device="cpu")


def dynamics(model: RecurrentPPO) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.policy.core.dynamics_parameters()]


@pytest.mark.parametrize("core", ["s7", "gru", "none"])
def test_every_parameter_is_in_exactly_one_group(core: str) -> None:
    policy = agent(core).policy
    grouped = [id(parameter) for group in policy.optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in policy.parameters())


def test_the_groups_keep_their_ratio_through_a_schedule_of_the_learning_rate() -> None:
    env = make_vec("s7rl/TMazePassive-v0", n_envs=2, seed=0, env_kwargs={"corridor_length": 3})
    model = RecurrentPPO(
        "MlpPolicy",
        env,
        n_steps=16,
        learning_rate=lambda remaining: 0.01 * (1.0 + remaining),
        policy_kwargs={**SMALL, "dynamics_lr_factor": 0.25},
        seed=0,
        device="cpu",
    )
    model.learn(64)  # two rollouts, the second with a lower rate than the first
    others, of_dynamics = model.policy.optimizer.param_groups
    assert len(of_dynamics["params"]) == 2, "horizons and token shift"
    assert 0.01 <= others["lr"] < 0.02
    assert of_dynamics["lr"] == pytest.approx(0.25 * others["lr"])


def test_a_factor_of_0_leaves_the_time_scales_as_they_were() -> None:
    model = agent(dynamics_lr_factor=0.0)
    before, gate = dynamics(model), model.policy.value_net.weight.detach().clone()
    model.learn(64)
    for one, other in zip(dynamics(model), before, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(model.policy.value_net.weight, gate)


def test_weight_decay_leaves_the_time_scales_alone() -> None:
    model = agent(optimizer_class=torch.optim.SGD, optimizer_kwargs={"weight_decay": 0.5})
    before, skip = dynamics(model), model.policy.value_net.weight.detach().clone()
    for parameter in model.policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.policy.optimizer.step()
    for one, other in zip(dynamics(model), before, strict=True):
        assert torch.equal(one, other)
    assert model.policy.value_net.weight.norm() < skip.norm()


def test_the_groups_come_back_with_a_checkpoint(tmp_path: Path) -> None:
    model = agent(dynamics_lr_factor=0.5)
    model.learn(32)
    model.save(tmp_path / "agent.zip")
    loaded = RecurrentPPO.load(tmp_path / "agent.zip", device="cpu")
    assert loaded.policy.dynamics_lr_factor == 0.5
    mine, theirs = loaded.policy.optimizer.param_groups, model.policy.optimizer.param_groups
    assert [group["lr"] for group in mine] == [group["lr"] for group in theirs]
    assert [group["weight_decay"] for group in mine] == [0.0, 0.0]
    assert [len(group["params"]) for group in mine] == [len(group["params"]) for group in theirs]


def test_a_factor_given_to_load_replaces_the_saved_one(tmp_path: Path) -> None:
    model = agent(dynamics_lr_factor=0.5)
    model.learn(32)
    model.save(tmp_path / "agent.zip")
    kwargs = {**model.policy_kwargs, "dynamics_lr_factor": 0.25}
    loaded = RecurrentPPO.load(tmp_path / "agent.zip", model.get_env(), device="cpu", policy_kwargs=kwargs)
    loaded.learn(32)
    others, of_dynamics = loaded.policy.optimizer.param_groups
    assert of_dynamics["lr"] == pytest.approx(0.25 * others["lr"])


@pytest.mark.parametrize("factor", [-0.1, float("nan")])
def test_a_factor_below_0_is_refused_in_one_line(factor: float) -> None:
    with pytest.raises(ValueError, match=r"^dynamics_lr_factor is [^\n]+$"):
        agent(dynamics_lr_factor=factor)
