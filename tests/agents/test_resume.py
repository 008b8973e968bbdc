"""A resumed run does, bit for bit, what it would have done; what cannot be resumed is said and starts anew.

Mutations that these tests were seen to fail on: each entry of ``_EPISODES`` and of ``_COUNTS`` left out in turn; the
generators, the unwritten log or the environments' state not put back; ``VecNormalize`` and ``EzPickle`` pickled their
own way; the generators of workers left out; ``callback.on_rollout_start`` called after ``_begin_rollout``;
``_between_rollouts`` not cleared; any suffix replaced by ".resume"; a single environment, or one in a process, named
by its outermost wrapper alone; the potentials, the observation or the return before a step of shaped rewards left out.
"""

from __future__ import annotations

import multiprocessing
import pickle
import random
import sys
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils import EzPickle
from gymnasium.wrappers import TimeLimit, TransformReward
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecMonitor, VecNormalize

from s7rl.agents import RecurrentPPO, ShapedRewardVecEnv, make_vec
from s7rl.envs.rewards import RewardShaping
from s7rl.envs.wrappers.reward import ShapedReward

STEPS, ENVS, ROLLOUTS, STOP = 10, 2, 6, 3
Make = Callable[[], VecEnv]
# Imports torch, and what this module does, once for all processes of all tests here.
multiprocessing.get_context("forkserver").set_forkserver_preload(["s7rl.agents.ppo", "pytest"])


class Drift(gym.Env[NDArray[np.float32], Any]):
    """A point pushed about by its own generator and by numpy's global one, in episodes longer than a rollout."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            np.random.seed(seed)  # noqa: NPY002
        self.point = self.np_random.normal(size=2)
        return self.point.astype(np.float32), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.point = 0.9 * self.point + self.np_random.normal(size=2) + 0.1 * np.random.normal() + 0.1 * np.sum(action)  # noqa: NPY002
        ended = bool(np.abs(self.point).max() > 4)
        return self.point.astype(np.float32), -float(np.abs(self.point).sum()), ended, False, {"is_success": ended}


class SteeredDrift(Drift):
    """With actions to every direction."""

    action_space = spaces.Box(-1.0, 1.0, (2,))


class Forgetful(Drift, EzPickle):
    """Pickles to the arguments of its constructor, as many of Gymnasium's environments do."""

    def __init__(self) -> None:
        EzPickle.__init__(self)


class Pair(gym.ObservationWrapper[Any, Any, Any]):
    """The point and which way it lies, as a Dict."""

    observation_space: spaces.Space[Any] = spaces.Dict({"point": Drift.observation_space, "way": spaces.Discrete(2)})

    def observation(self, observation: Any) -> Any:
        return {"point": observation, "way": int(observation[0] > 0)}


class Picture(gym.ObservationWrapper[Any, Any, Any]):
    """An image of the point, its channels last."""

    observation_space: spaces.Space[Any] = spaces.Box(0, 255, (36, 36, 3), np.uint8)

    def observation(self, observation: Any) -> Any:
        grid = np.linspace(0.0, 3.0, 36 * 36 * 3).reshape(36, 36, 3)
        return (127.5 + 127.5 * np.sin(grid * observation[0] + observation[1])).astype(np.uint8)


class Locked(Drift):
    """Holds something that never pickles."""

    def __init__(self) -> None:
        self.tools = {"held": [threading.Lock()]}


def drift(kind: type[gym.Env[Any, Any]] = Drift, vec_env: type[Any] = DummyVecEnv) -> VecEnv:
    # A wrapper that holds a lambda, which plain pickle refuses.
    make = lambda: TransformReward(TimeLimit(kind(), 13), lambda reward: 2 * float(reward))  # noqa: E731
    made: VecEnv = VecMonitor(vec_env([make] * ENVS))
    return made


def corridor() -> VecEnv:
    return make_vec("s7rl/TMazePassive-v0", ENVS, env_kwargs={"corridor_length": 6})


# Remembers the observation and the potential before; held by functions that never pickle by name.
SHAPING = RewardShaping(
    potential=lambda obs: float(np.sum(obs)),
    reward=lambda obs, action, next_obs, info: float(np.sum(next_obs) * np.sum(obs)) + info["terminated"],
    discount=0.9,
)
CASES: dict[str, tuple[Make, dict[str, Any]]] = {
    "batched, s7": (corridor, {}),
    "batched, gtrxl": (corridor, {"policy_kwargs": {"core": "gtrxl"}}),
    "batched, normalised rewards": (lambda: VecNormalize(corridor(), norm_obs=False), {}),
    "dummy, gru, normalised": (lambda: VecNormalize(drift()), {"policy_kwargs": {"core": "gru"}}),
    "dummy, burn-in, short sequences": (drift, {"burn_in": 4, "sequence_length": 5}),
    "dummy, gSDE": (lambda: drift(SteeredDrift), {"use_sde": True, "sde_sample_freq": 4}),
    "dummy, separate critic": (drift, {"policy_kwargs": {"critic_core": "separate"}, "refresh": "never"}),
    "dummy, environments that pickle to new ones": (lambda: drift(Forgetful), {}),
    "dummy, Dict, normalised": (
        lambda: VecNormalize(VecMonitor(DummyVecEnv([lambda: Pair(Drift())] * ENVS)), norm_obs_keys=["point"]),
        {"policy": "MultiInputPolicy", "burn_in": 3},
    ),
    "dummy, images": (lambda: VecMonitor(DummyVecEnv([lambda: Picture(Drift())] * ENVS)), {"policy": "CnnPolicy"}),
    "batched, shaped and normalised rewards": (
        lambda: VecNormalize(ShapedRewardVecEnv(corridor(), SHAPING), norm_obs=False),
        {"policy_kwargs": {"core": "gru"}},
    ),
    "dummy, single environments shaped": (
        lambda: DummyVecEnv([lambda: ShapedReward(Monitor(Drift()), SHAPING)] * ENVS),
        {"policy_kwargs": {"core": "gru"}},
    ),
    "processes, gru": (lambda: drift(vec_env=SubprocVecEnv), {"policy_kwargs": {"core": "gru"}}),
}


def agent(env: VecEnv, **options: Any) -> RecurrentPPO:
    kwargs = {"d_model": 8, **options.pop("policy_kwargs", {})}
    chosen: dict[str, Any] = {"n_steps": STEPS, "batch_size": STEPS, "n_epochs": 2, "learning_rate": 1e-2, "seed": 4}
    return RecurrentPPO(options.pop("policy", "MlpPolicy"), env, **{**chosen, **options}, policy_kwargs=kwargs)


class Stopped(Exception):
    """The run ends here."""


class Diary(BaseCallback, KVWriter):
    """Every action and every line of the log; stops, after saving, where a rollout begins."""

    def __init__(self, stop: int | None = None, path: Path | None = None) -> None:
        super().__init__()
        self.stop, self.path = stop, path
        self.actions: list[NDArray[Any]] = []
        self.lines: list[dict[str, Any]] = []

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps == self.stop:
            if self.path is not None:
                self.model.save(self.path, resumable=True)  # type: ignore[call-arg]
            raise Stopped

    def _on_step(self) -> bool:
        self.actions.append(self.locals["actions"].copy())
        return True

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.lines.append(
            {key: value for key, value in key_values.items() if key not in ("time/fps", "time/time_elapsed")}
        )

    def close(self) -> None:
        pass


def follow(model: RecurrentPPO, stop: int | None = None, path: Path | None = None) -> Diary:
    """Trains up to the end of the run, or to where it is stopped."""
    diary = Diary(stop, path)
    model.set_logger(Logger(None, [diary]))
    with suppress(Stopped):
        model.learn(ROLLOUTS * STEPS * ENVS - model.num_timesteps, diary, reset_num_timesteps=False)
    return diary


def disturb_generators() -> None:
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    random.seed(99)


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_acts_learns_and_logs_as_one_that_was_never_stopped(case: str, tmp_path: Path) -> None:
    make, options = CASES[case]
    straight = agent(make(), **options)
    whole = follow(straight)

    stopped = agent(make(), **options)
    first = follow(stopped, STOP * STEPS * ENVS, tmp_path / "run")
    assert stopped.env is not None
    stopped.env.close()
    disturb_generators()
    resumed = RecurrentPPO.resume(tmp_path / "run", make())
    assert resumed.num_timesteps == STOP * STEPS * ENVS
    disturb_generators()
    second = follow(resumed)

    assert len(whole.actions) == ROLLOUTS * STEPS
    np.testing.assert_array_equal(np.stack(first.actions + second.actions), np.stack(whole.actions))
    assert len(whole.lines) == ROLLOUTS
    assert first.lines + second.lines == whole.lines
    assert any("rollout/ep_rew_mean" in line for line in whole.lines[:STOP]), "no episode ended before the stop"
    theirs = straight.policy.state_dict()
    for name, weight in resumed.policy.state_dict().items():
        assert torch.equal(weight, theirs[name]), name
    for model in (straight, resumed):
        assert model.env is not None
        model.env.close()


def test_a_resumed_run_can_be_saved_again_before_it_goes_on(tmp_path: Path) -> None:
    whole = follow(agent(drift()))
    first = follow(agent(drift()), STOP * STEPS * ENVS, tmp_path / "once")
    disturb_generators()
    RecurrentPPO.resume(tmp_path / "once", drift()).save(tmp_path / "twice", resumable=True)
    second = follow(RecurrentPPO.resume(tmp_path / "twice", drift()))
    assert first.lines + second.lines == whole.lines


def squared(left: float) -> float:
    """A schedule."""
    return 1e-2 * left**2


def test_schedules_that_are_functions_go_on(tmp_path: Path) -> None:
    """Fails if they are the constants of the checkpoint."""

    def options() -> dict[str, Any]:
        schedules: dict[str, Any] = {"clip_range": lambda left: 0.1 + left, "clip_range_vf": FloatSchedule(squared)}
        return {"learning_rate": squared, **schedules}

    whole = follow(agent(corridor(), **options()))
    with pytest.warns(UserWarning, match="is a function, of which load gives back the value that it begins with"):
        first = follow(agent(corridor(), **options()), STOP * STEPS * ENVS, tmp_path / "run")
    second = follow(RecurrentPPO.resume(tmp_path / "run", corridor()))
    assert first.lines + second.lines == whole.lines
    for name in ("learning_rate", "clip_range", "clip_range_vf"):
        assert len({line[f"train/{name}"] for line in whole.lines[1:]}) == ROLLOUTS - 1


def test_a_schedule_of_the_script_that_trained_goes_on_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if it is pickled by its name, which __main__ of another script does not have."""
    main = sys.modules["__main__"]
    exec("def halved(left): return 0.005 * left", vars(main))
    with pytest.warns(UserWarning, match="learning_rate is a function"):
        agent(corridor(), learning_rate=main.halved).save(tmp_path / "run", resumable=True)
    monkeypatch.delattr(main, "halved")
    assert RecurrentPPO.resume(tmp_path / "run", corridor()).lr_schedule(0.5) == 0.0025


def test_a_schedule_that_is_gone_can_be_given_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if it is read although another is given."""
    with pytest.warns(UserWarning, match="learning_rate is a function"):
        agent(corridor(), learning_rate=squared).save(tmp_path / "run", resumable=True)
    monkeypatch.delattr(sys.modules[__name__], "squared")
    with pytest.raises(ValueError, match=r"run\.resume cannot be resumed by this s7rl: AttributeError: [^\n]*squared"):
        RecurrentPPO.resume(tmp_path / "run", corridor())
    given: list[dict[str, Any]] = [{"learning_rate": 0.5}, {"custom_objects": {"learning_rate": 0.5}}]
    for options in given:
        assert RecurrentPPO.resume(tmp_path / "run", corridor(), **options).lr_schedule(0.5) == 0.5


def test_a_schedule_that_does_not_pickle_is_named_and_goes_on_as_a_constant(tmp_path: Path) -> None:
    lock = threading.Lock()
    model = agent(corridor(), learning_rate=lambda left: 1e-2 * left * (not lock.locked()))
    with (
        pytest.warns(UserWarning, match="learning_rate is a function, of which load gives back"),
        pytest.warns(UserWarning, match=r"does not pickle \(TypeError: cannot pickle '_thread.lock'"),
    ):
        model.save(tmp_path / "run", resumable=True)
    assert RecurrentPPO.resume(tmp_path / "run", corridor()).lr_schedule(0.5) == 1e-2


def test_a_run_saved_before_it_began_begins_as_it_would_have(tmp_path: Path) -> None:
    model = agent(corridor())
    model.save(tmp_path / "a", resumable=True)
    whole = follow(model)
    assert follow(RecurrentPPO.resume(tmp_path / "a", corridor())).lines == whole.lines


@pytest.mark.parametrize("vec_env", [DummyVecEnv, pytest.param(SubprocVecEnv, marks=pytest.mark.slow)])
def test_environments_that_do_not_pickle_start_anew_and_all_else_goes_on(vec_env: type[Any], tmp_path: Path) -> None:
    model = agent(drift(Locked, vec_env))
    follow(model, STOP * STEPS * ENVS, tmp_path / "a")
    assert model.env is not None
    model.env.close()
    env = drift(Locked, vec_env)
    with pytest.warns(UserWarning, match=r"^[^\n]*episodes start anew[^\n]*they do not pickle: [^\n]*lock[^\n]*$"):
        resumed = RecurrentPPO.resume(tmp_path / "a", env)
    assert resumed._last_obs is None
    assert resumed.ep_info_buffer == model.ep_info_buffer
    assert [line["time/iterations"] for line in follow(resumed).lines] == [4, 5, 6]
    env.close()


def test_it_is_said_where_a_run_goes_on_without_the_scaling_of_its_observations(tmp_path: Path) -> None:
    model = agent(VecNormalize(drift(Locked)))
    follow(model, STOP * STEPS * ENVS, tmp_path / "run")
    with (
        pytest.warns(UserWarning, match="scaled by a VecNormalize, and env has none"),
        pytest.warns(UserWarning, match="their episodes start anew"),
    ):
        RecurrentPPO.resume(tmp_path / "run", drift(Locked))


def test_environments_of_another_kind_start_anew(tmp_path: Path) -> None:
    follow(agent(drift()), STOP * STEPS * ENVS, tmp_path / "a")
    with pytest.warns(UserWarning, match=r"^[^\n]*episodes start anew[^\n]*VecMonitor[^\n]*VecNormalize[^\n]*$"):
        resumed = RecurrentPPO.resume(tmp_path / "a", VecMonitor(VecNormalize(drift().venv)))  # type: ignore[attr-defined]
    assert len(follow(resumed).lines) == ROLLOUTS - STOP


@pytest.mark.parametrize("vec_env", [DummyVecEnv, pytest.param(SubprocVecEnv, marks=pytest.mark.slow)])
def test_another_environment_in_the_same_outermost_wrapper_is_not_thrown_away(
    vec_env: type[Any], tmp_path: Path
) -> None:
    saved = drift(vec_env=vec_env)
    follow(agent(saved), STOP * STEPS * ENVS, tmp_path / "a")
    saved.close()
    env = drift(Forgetful, vec_env)
    message = "there is TransformReward > TimeLimit > Forgetful, where there was TransformReward > TimeLimit > Drift"
    with pytest.warns(UserWarning, match=rf"^[^\n]*episodes start anew[^\n]*{message}[^\n]*$"):
        resumed = RecurrentPPO.resume(tmp_path / "a", env)
    assert env.has_attr("_ezpickle_args")
    assert len(follow(resumed).lines) == ROLLOUTS - STOP
    env.close()


def test_two_agents_whose_names_differ_after_a_dot_are_both_kept(tmp_path: Path) -> None:
    for name in ("lr0.001", "lr0.002", "lr.zip"):
        agent(corridor()).save(tmp_path / name, resumable=True)
    names = ["lr.resume", "lr.zip", "lr0.001", "lr0.001.resume", "lr0.002", "lr0.002.resume"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert RecurrentPPO.resume(tmp_path / "lr0.001", corridor()).num_timesteps == 0


def test_the_name_of_the_second_file_is_no_name_for_a_checkpoint(tmp_path: Path) -> None:
    model = agent(corridor())
    model.save(tmp_path / "a", resumable=True)
    message = r"^path is [^\n]*a\.resume, but [^\n]*$"
    for resumable in (False, True):
        with pytest.raises(ValueError, match=message):
            model.save(tmp_path / "a.resume", resumable=resumable)
    with pytest.raises(ValueError, match=message):
        RecurrentPPO.resume(tmp_path / "a.resume", corridor())


@pytest.mark.usefixtures("as_users_run_it")
def test_a_run_goes_on_in_environments_or_by_their_id(tmp_path: Path) -> None:
    RecurrentPPO("MlpPolicy", "s7rl/TMazePassive-v0", n_steps=8, policy_kwargs={"d_model": 8}).save(
        tmp_path / "a", resumable=True
    )
    assert RecurrentPPO.resume(tmp_path / "a", "s7rl/TMazePassive-v0").n_envs == 16
    with pytest.raises(ValueError, match=r"^env is None, but a run goes on in environments: [^\n]+$"):
        RecurrentPPO.resume(tmp_path / "a", None)  # type: ignore[arg-type]


def test_another_number_of_environments_is_refused_in_one_line(tmp_path: Path) -> None:
    agent(corridor()).save(tmp_path / "a", resumable=True)
    env = make_vec("s7rl/TMazePassive-v0", 3, env_kwargs={"corridor_length": 6})
    with pytest.raises(
        ValueError, match=r"^env has 3 environment\(s\), but [^\n]*a\.resume goes on with 2: pass as many\.$"
    ):
        RecurrentPPO.resume(tmp_path / "a", env)


def test_nothing_resumable_is_written_in_the_middle_of_a_rollout(tmp_path: Path) -> None:
    class Eager(Diary):
        def _on_step(self) -> bool:
            with pytest.raises(ValueError, match=r"^resumable is True, but the model is in the middle[^\n]*$"):
                self.model.save(tmp_path / "a", resumable=True)  # type: ignore[call-arg]
            self.model.save(tmp_path / "a")
            return False

    model = agent(corridor())
    model.learn(1, Eager())
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    model.save(tmp_path / "a", resumable=True)
    assert (tmp_path / "a.resume").exists()


def test_what_cannot_be_saved_resumably_says_so(tmp_path: Path) -> None:
    model = agent(corridor())
    with (
        (tmp_path / "a.zip").open("wb") as file,
        pytest.raises(ValueError, match=r"^resumable is True, but it takes two"),
    ):
        model.save(file, resumable=True)
    model.save(tmp_path / "a")
    with pytest.raises(ValueError, match=r"^resumable is True, but the model has no environment[^\n]*$"):
        RecurrentPPO.load(tmp_path / "a").save(tmp_path / "a", resumable=True)
    with pytest.raises(FileNotFoundError, match=r"^there is no [^\n]*a\.resume: [^\n]*resumable=True\.$"):
        RecurrentPPO.resume(tmp_path / "a", corridor())


def test_loading_an_agent_never_reads_what_resume_needs(tmp_path: Path) -> None:
    agent(corridor()).save(tmp_path / "a", resumable=True)
    (tmp_path / "a.resume").write_bytes(b"no archive")
    RecurrentPPO.load(tmp_path / "a", env=corridor())
    with pytest.raises(ValueError, match=r"^[^\n]*a\.resume cannot be resumed by this s7rl: [^\n]*$"):
        RecurrentPPO.resume(tmp_path / "a", corridor())


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("header.json", b"{}"),
        ("header.json", b'{"format": "s7rl-resume", "version": 99, "n_envs": 2}'),
        ("agent.zip", b"PK"),
        ("trainer.pickle", b"\x80"),
        ("trainer.pickle", None),
        ("environments.pickle", pickle.dumps({})),
        ("environments.pickle", pickle.dumps([1])),
    ],
)
def test_a_changed_file_is_refused_in_one_line(member: str, content: bytes | None, tmp_path: Path) -> None:
    agent(corridor()).save(tmp_path / "a", resumable=True)
    with zipfile.ZipFile(tmp_path / "a.resume") as old, zipfile.ZipFile(tmp_path / "b.resume", "w") as new:
        for name in old.namelist():
            changed = content if name == member else old.read(name)
            if changed is not None:
                new.writestr(name, changed)
    with pytest.raises(ValueError, match=r"^[^\n]*b\.resume [^\n]+$"):
        RecurrentPPO.resume(tmp_path / "b", corridor())
