"""Two ranks with two environments each learn what one process with four learns.

Pytest's process is the one with four environments; ``_rank`` below is what each of the two ranks runs, in a process of
its own that runs this file.  Both act greedily where rollouts are compared: which action a rank samples depends on the
generator of its process, and no two ranks can share one without telling each other every draw.  The observations are
not normalised there either, since ranks meet only between rollouts, and their statistics differ within one.
"""

import copy
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecNormalize
from torch import Tensor, nn

from s7rl.agents import RecurrentActorCriticPolicy, RecurrentPPO, distributed, make_vec, process_group

RANKS = 2
N_ENVS = 4
N_STEPS = 32
SEED = 5
ENV = "s7rl/CartPolePositionOnly-v0"
DIFFERENCES: list[tuple[str, Any, Any, str]] = [
    ("gamma", 0.9, 0.99, "gamma is 0.9 on rank 0 and 0.99 on rank 1"),
    ("ent_coef", 0.0, 0.01, "ent_coef is 0.0 on rank 0 and 0.01 on rank 1"),
    ("normalize_advantage", True, False, "normalize_advantage is True on rank 0 and False on rank 1"),
    (
        "learning_rate",
        LinearSchedule(0.5, 0.0, 1.0),
        0.5,
        "learning_rate is {'linear_schedule': [0.5, 0.0, 1.0]} on rank 0 and 0.5 on rank 1",
    ),
    ("policy_kwargs", {}, {"d_model": 8}, "policy_kwargs['d_model'] is None on rank 0 and 8 on rank 1"),
    ("VecNormalize", {}, None, "VecNormalize around the environments is VecNormalize on rank 0 and None on rank 1"),
    ("VecNormalize", {}, {"norm_obs": False}, "VecNormalize's norm_obs is True on rank 0 and False on rank 1"),
]
"""A setting, what it is on each rank, and what both say."""
UNSAVEABLE: list[tuple[str, Any]] = [
    ("learning_rate", lambda left: 0.1 * left),
    ("policy_kwargs", {"d_model": 8, "optimizer_kwargs": {"betas": np.array([0.9, 0.999])}}),
]
"""What one cannot save, or not whole, but train with."""
PATIENCE = 120
"""Seconds after which ranks that wait for each other are ended; they need about 10."""


class Greedy(RecurrentActorCriticPolicy):
    """Takes the most probable action while it learns, too."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **{**kwargs, "deterministic": True})


def _agent(n_envs: int, **kwargs: Any) -> RecurrentPPO:
    """An agent whose minibatch is the whole rollout, so that no random order decides what is in it."""
    vec_env = make_vec(ENV, n_envs, seed=SEED)
    options: dict[str, Any] = {"core": "gru", "d_model": 8, "optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}
    defaults = {
        "policy": Greedy,
        "env": vec_env,
        "policy_kwargs": options,
        "learning_rate": 0.03,  # at 0.1 weights move by 4 in an update, and the third makes 30 of a rounding error
        "n_epochs": 2,
        "max_grad_norm": 100.0,  # so high that it hides nothing
        "seed": SEED,
    }
    settings: dict[str, Any] = defaults | kwargs
    return RecurrentPPO(**settings, n_steps=N_STEPS, batch_size=n_envs * N_STEPS, device="cpu", stats_window_size=10)


def _learned(n_envs: int) -> dict[str, Any]:
    """What an agent is after one rollout with one gradient step, and after three with two steps each."""
    once = _agent(n_envs, n_epochs=1)
    once.learn(N_ENVS * N_STEPS)
    agent = _agent(n_envs, target_kl=1.0)
    agent.learn(3 * N_ENVS * N_STEPS)
    assert agent.ep_info_buffer is not None
    return {
        "gradient": torch.cat([parameter.grad.flatten() for parameter in once.policy.parameters()]),  # type: ignore[union-attr]  # all have one
        "weights": [parameter.detach() for parameter in agent.policy.parameters()],
        "rewards": agent.rollout_buffer.rewards,
        "observations": agent.rollout_buffer.observations,
        "num_timesteps": agent.num_timesteps,
        "episodes": [(episode["r"], episode["l"]) for episode in agent.ep_info_buffer],
        "log": agent.logger.name_to_value,
    }


def _complaint(number: int, name: str, *values: Any) -> str:
    """What a rank says when the ranks learn, each with its own value of a setting."""
    env, value = make_vec(ENV, N_ENVS // RANKS, seed=SEED), values[number]
    if name == "VecNormalize":
        agent = _agent(N_ENVS // RANKS, env=env if value is None else VecNormalize(env, **value))
    else:
        agent = _agent(N_ENVS // RANKS, env=env, **{name: value})
    try:
        agent.learn(N_ENVS * N_STEPS)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


class _Huge(VecEnvWrapper):
    """Rewards that are finite, and whose squares are not."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        obs, rewards, dones, infos = self.venv.step_wait()
        return obs, np.full_like(rewards, 1e25), dones, infos


def _overflow(number: int) -> str:
    """How learning ends on a rank if the loss is not finite on rank 1 alone."""
    env = make_vec(ENV, N_ENVS // RANKS, seed=SEED)
    agent = _agent(N_ENVS // RANKS, env=_Huge(env) if number == 1 else env)
    try:
        agent.learn(N_ENVS * N_STEPS)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def _samples(step: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Observations of four environments at a step: far from 0, and ever further."""
    return np.random.default_rng(step).normal(1000.0 + 10 * step, 0.1, (N_ENVS, 3))


def _advantages() -> Tensor:
    return 100 + torch.randn(N_STEPS, N_ENVS, generator=torch.Generator().manual_seed(0))


class _Nowhere(gym.Env[Any, Any]):
    """Nobody steps it: it is there for its observation space."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, spaces.Discrete(2)


def _normalizers() -> tuple[VecNormalize, VecNormalize]:
    box = spaces.Box(-np.inf, np.inf, (3,))
    nested = spaces.Dict({"a": box, "b": box})
    return VecNormalize(DummyVecEnv([lambda: _Nowhere(box)])), VecNormalize(DummyVecEnv([lambda: _Nowhere(nested)]))


def _running(plain: VecNormalize, nested: VecNormalize) -> list[RunningMeanStd]:
    one: Any = plain.obs_rms
    several: Any = nested.obs_rms
    return [one, plain.ret_rms, several["a"], several["b"], nested.ret_rms]


def _observe(running: list[RunningMeanStd], samples: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    for number, each in enumerate(running):
        each.update((number + 1) * (samples[:, 0] if each.mean.shape == () else samples))


def _moments(running: list[RunningMeanStd]) -> list[tuple[Any, Any, float]]:
    return [(each.mean, each.var, each.count) for each in running]


def _rank(folder: Path) -> None:
    """What one rank does: everything that the tests look at, in one process, since starting one takes seconds."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with process_group("cpu"):
        number = distributed.rank()
        mine = slice(2 * number, 2 * number + 2)
        found["ranks"] = distributed.gather((number, distributed.world_size()))
        found["flags"] = [distributed.any_rank(flag) for flag in (False, number == 1, True)]
        found["normalized"] = distributed.normalize(_advantages()[:, mine])
        parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, 1)), nn.Parameter(torch.zeros(1))]
        parameters[0].grad = torch.tensor([1.0, 2.0]) * (number + 1)
        parameters[1].grad = torch.full((2, 1), 8.0) if number == 1 else None
        distributed.average_gradients(parameters)
        found["averaged"] = [parameter.grad for parameter in parameters]
        try:
            distributed.check_same({"n_steps": 8, "n_envs": number + 3})
        except ValueError as error:
            found["complaint"] = str(error)

        found["complaints"] = [_complaint(number, name, *values) for name, *values, _ in DIFFERENCES]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found["no complaints"] = [_complaint(number, name, value, value) for name, value in UNSAVEABLE]

        found["overflow"] = _overflow(number)

        normalizers = _normalizers()
        running = _running(*normalizers)
        _observe(running, _samples(99 + number)[:2])  # what rank 0 saw before will hold for both
        shared = [distributed.SharedStatistics(normalizer) for normalizer in normalizers]
        for step in range(6):
            _observe(running, _samples(step)[mine])
            if step % 2:
                for each in shared:
                    each.merge()
        found["statistics"] = _moments(running)

        found["learned"] = _learned(N_ENVS // RANKS)

        logs = folder / f"logs-of-rank-{number}"
        env = VecNormalize(make_vec(ENV, 2))
        falling = LinearSchedule(1e-2, 0.0, 1.0)
        usual = {"policy": "MlpPolicy", "policy_kwargs": {"core": "s7", "d_model": 8}, "learning_rate": falling}
        agent = _agent(2, **usual, env=env, seed=None, tensorboard_log=str(logs), verbose=1)
        agent.learn(3 * N_ENVS * N_STEPS)
        agent.save(folder / f"agent-of-rank-{number}.zip")
        found["sampled"] = agent.rollout_buffer.actions
        weights = copy.deepcopy(agent.policy.state_dict())
        found["equal"] = {"weights": weights, "statistics": _moments([env.obs_rms, env.ret_rms])}  # type: ignore[list-item]  # no dict here

        steps = 0

        def stops(*_: Any) -> bool:
            nonlocal steps
            steps += 1
            return not (number == 1 and steps == 5)

        agent.learn(10 * N_ENVS * N_STEPS, callback=stops)
        found["stopped after"], found["counted"] = steps, agent.num_timesteps
        agent.learn(2 * N_ENVS * N_STEPS, reset_num_timesteps=False)
        found["weights after going on"] = agent.policy.state_dict()
        torch.save(found, folder / f"found-by-rank-{number}.pt")

        def fails(*_: Any) -> bool:
            if number == 1:
                raise OSError("this rank is lost")
            return True

        try:
            agent.learn(10 * N_ENVS * N_STEPS, callback=fails)
        except RuntimeError:
            (folder / f"rank-{number}-noticed").touch()
    threads = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    (folder / f"threads-of-rank-{number}.txt").write_text("".join(threads))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks left what they found."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            env={**os.environ, **group, "RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(RANKS)
    ]
    try:
        for number, process in enumerate(ranks):
            output, _ = process.communicate(timeout=PATIENCE)
            (folder / f"output-of-rank-{number}.txt").write_text(output)
    finally:
        for process in ranks:
            process.kill()
    for number in range(RANKS):
        assert (folder / f"found-by-rank-{number}.pt").exists(), (folder / f"output-of-rank-{number}.txt").read_text()
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"found-by-rank-{number}.pt", weights_only=False) for number in range(RANKS)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return _learned(N_ENVS)


def test_ranks_know_each_other(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        assert found["ranks"] == [(0, 2), (1, 2)]
        assert found["flags"] == [False, True, True]


def test_advantages_are_normalised_over_the_steps_of_all_ranks(ranks: list[dict[str, Any]]) -> None:
    # Fails where each rank normalises by itself, and where the variance leaves out the ranks' distance from each other.
    together = torch.cat([found["normalized"] for found in ranks], dim=1)
    torch.testing.assert_close(together, distributed.normalize(_advantages()), rtol=0, atol=1e-4)
    wide = together.double()
    assert abs(wide.mean()) < 1e-6
    assert abs(wide.std() - 1) < 1e-6


def test_a_gradient_is_the_mean_over_the_ranks_and_one_that_a_rank_lacks_is_zero(
    ranks: list[dict[str, Any]],
) -> None:
    # Fails with a sum in place of the mean, and where a missing gradient shifts those behind it.
    for found in ranks:
        assert [gradient.tolist() for gradient in found["averaged"][:2]] == [[1.5, 3.0], [[4.0], [4.0]]]


def test_what_has_no_gradient_on_any_rank_gets_none(ranks: list[dict[str, Any]]) -> None:
    # Fails where it gets zeros, by which AdamW would decay what one process leaves alone.
    for found in ranks:
        assert found["averaged"][2] is None


def test_different_settings_are_an_error_of_one_line_on_every_rank(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        assert found["complaint"] == (
            "n_envs is 3 on rank 0 and 4 on rank 1, but ranks learn in step: pass the same value on all."
        )


def test_any_setting_that_differs_is_named_on_every_rank(ranks: list[dict[str, Any]]) -> None:
    # Fails where sizes alone are compared, as they learn all the same or, with one VecNormalize, wait for ever.
    for found in ranks:
        for complaint, (*_, reason) in zip(found["complaints"], DIFFERENCES, strict=True):
            assert complaint == f"ValueError: {reason}, but ranks learn in step: pass the same value on all."


def test_a_loss_that_is_not_finite_on_one_rank_ends_all_by_an_error_of_their_own(ranks: list[dict[str, Any]]) -> None:
    # Fails where it is looked at before the ranks have met: the other one is then left with a closed connection.
    assert ranks[0]["overflow"].startswith("NumericalError: the gradient of ")
    assert ranks[1]["overflow"].startswith("NumericalError: the term value_loss of the loss is inf ")


def test_ranks_learn_with_equal_settings_that_cannot_be_saved(ranks: list[dict[str, Any]]) -> None:
    # Fails where the comparison warns or raises as saving does.
    for found in ranks:
        assert found["no complaints"] == ["none"] * len(UNSAVEABLE)


def test_running_statistics_are_those_of_one_process_that_saw_everything(ranks: list[dict[str, Any]]) -> None:
    # Fails where the pseudo-sample that SB3 begins with counts once a rank, where a merge adds what was merged before,
    # and where ranks begin from what each saw alone.
    expected = _running(*_normalizers())
    _observe(expected, _samples(99)[:2])
    for step in range(6):
        _observe(expected, _samples(step))
    for found in ranks:
        for (mean, var, count), each in zip(found["statistics"], expected, strict=True):
            np.testing.assert_allclose(mean, each.mean, rtol=1e-12)
            np.testing.assert_allclose(var, each.var, rtol=1e-6)
            np.testing.assert_allclose(count, each.count, rtol=1e-12)


def test_ranks_step_the_environments_that_one_process_would(ranks: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    # Fails where all ranks seed their environments alike.
    for key in ("observations", "rewards"):
        together = torch.cat([found["learned"][key] for found in ranks], dim=1)
        torch.testing.assert_close(together, alone[key], rtol=0, atol=0)
    assert not torch.equal(ranks[0]["learned"]["observations"], ranks[1]["learned"]["observations"])


def test_the_averaged_gradient_is_that_of_one_process(ranks: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    # Fails without the average, with a sum in its place, and where each rank normalises advantages by itself.
    for found in ranks:
        assert (found["learned"]["gradient"] - alone["gradient"]).norm() <= 1e-6 * alone["gradient"].norm()


def test_weights_after_three_updates_are_those_of_one_process(
    ranks: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    # By plain gradient descent: Adam would divide the rounding errors of tiny gradients by their size.
    for found in ranks:
        for mine, expected in zip(found["learned"]["weights"], alone["weights"], strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)


def test_steps_episodes_and_log_are_those_of_one_process(ranks: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    # Fails where ranks count their own steps, where rank 0 keeps its own episodes, where those of rank 1 come behind
    # all of rank 0, and where the log averages over rank 0 alone.
    for found in ranks:
        assert found["learned"]["num_timesteps"] == alone["num_timesteps"] == 3 * N_ENVS * N_STEPS
        assert found["learned"]["episodes"] == alone["episodes"]
    log, expected = ranks[0]["learned"]["log"], alone["log"]
    assert log.keys() == expected.keys() >= {"train/approx_kl", "train/explained_variance", "train/state_staleness"}
    for key in expected.keys() - {"time/fps", "time/time_elapsed"}:
        assert log[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-6), key


def test_ranks_that_sample_stay_equal_while_their_actions_differ(ranks: list[dict[str, Any]]) -> None:
    # Without a seed.  Fails where rank 0 does not hand its weights out, and where statistics are not merged.
    first, second = ranks
    assert not torch.equal(first["sampled"], second["sampled"])
    for name, tensor in first["equal"]["weights"].items():
        assert torch.equal(tensor, second["equal"]["weights"][name]), name
    for mine, other in zip(first["equal"]["statistics"], second["equal"]["statistics"], strict=True):
        for one, two in zip(mine, other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_only_the_first_rank_writes_and_speaks(folder: Path) -> None:
    assert (folder / "logs-of-rank-0").is_dir()
    assert (folder / "agent-of-rank-0.zip").is_file()
    assert not (folder / "logs-of-rank-1").exists()
    assert not (folder / "agent-of-rank-1.zip").exists()
    assert "total_timesteps" in (folder / "output-of-rank-0.txt").read_text()
    assert "total_timesteps" not in (folder / "output-of-rank-1.txt").read_text()


def test_ranks_stop_together_when_one_is_told_to(ranks: list[dict[str, Any]]) -> None:
    # Fails, by waiting for ever, where only the rank that was told stops.
    assert [found["stopped after"] for found in ranks] == [N_STEPS, 5]


def test_ranks_stay_equal_when_they_go_on_after_one_has_stopped(ranks: list[dict[str, Any]]) -> None:
    # Under a learning rate that falls.  Fails where each keeps its own count: its progress is another ever after.
    for found in ranks:
        assert found["counted"] == N_ENVS // RANKS * (N_STEPS + 5)
    first, second = (found["weights after going on"] for found in ranks)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_a_rank_does_not_wait_for_one_that_failed(folder: Path) -> None:
    assert "this rank is lost" in (folder / "output-of-rank-1.txt").read_text()
    assert (folder / "rank-0-noticed").exists()


def test_a_rank_that_has_left_runs_no_thread_of_the_group(folder: Path) -> None:
    # One that outlives the interpreter now and then aborts the process.  Fails without the import before joining.
    assert "gloo" not in (folder / "threads-of-rank-0.txt").read_text()


def test_without_ranks_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    x = torch.tensor([1.0, 2.0, 6.0])
    with process_group():
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert distributed.mean(x) is x
        assert distributed.rows(x[:, None]).shape == (3, 1)
        wide = x.double()
        expected = ((wide - wide.mean()) / (wide.std() + 1e-8)).float()
        torch.testing.assert_close(distributed.normalize(x), expected, rtol=0, atol=0)
        assert distributed.gather("mine") == ["mine"]


def test_half_of_what_torchrun_sets_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    complaint = r"^WORLD_SIZE is 2, but MASTER_ADDR and MASTER_PORT of .* start with torchrun"
    with pytest.raises(ValueError, match=complaint), process_group():
        pass


def test_more_processes_than_gpus_are_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "get_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    complaint = r"^LOCAL_RANK is 1, but this machine has 1 GPU\(s\): start at most one process for each, or [^\n]+$"
    with pytest.raises(ValueError, match=complaint), process_group("cuda"):
        pass


if __name__ == "__main__":
    _rank(Path(sys.argv[1]))
