"""Every registered id, ours and those of each installed suite: checkers, seeds, pickling, steps in its VecEnv.

Ids that differ in kind run in ``make test``; all the others are marked ``conformance`` and run in ``make conformance``.

Mutations tried, each of which fails a test here: a floor that imports torch; a reset that takes no seed; a wrapper
whose second seed renews no generator, or that leaves its generator behind when it is pickled; an episode that is a step
longer than its description says; MiniGrid's missing pictures not asked for.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils import EzPickle, RecordConstructorArgs
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from s7rl.agents import make_vec
from s7rl.envs import find_task, has_batched_engine, make_env
from s7rl.envs.registry import SUITES, find_suite
from s7rl.envs.suites import memory, vision

QUICK = (
    *memory.SUITE.own,
    "MiniGrid-MemoryS11-v0",  # has an engine, and no mission
    "MiniGrid-Fetch-8x8-N3-v0",  # missions from a list
    "BabyAI-PutNextS5N2Carrying-v0",  # missions by a grammar
    "popgym-AutoencodeEasy-v0",  # Tuple observations
    "popgym-BattleshipEasy-v0",  # MultiDiscrete actions, the previous one shown
    "popgym-CountRecallEasy-v0",  # MultiDiscrete observations
    "popgym-NoisyPositionOnlyPendulumEasy-v0",  # Box actions
    "s7rl/CartPolePositionOnly-v0",
    "s7rl/MountainCarContinuousNoisy-v0",
    "s7rl/LunarLanderVelocityOnly-v0",
    "s7rl/HopperPositionOnly-v0",
    "s7rl/PongFlickering-v0",
    "MiniWorld-TMaze-v0",
    "VizdoomBasic-v1",
)

# Packages' own faults, and what cannot be otherwise.  Each is tested to be there still.
REFUSED = tuple(
    f"MiniGrid-WFC-{name}-v0"
    for name in (
        "MazeSimple",
        "DungeonMazeScaled",
        "RoomsFabric",
        "ObstaclesBlackdots",
        "ObstaclesAngular",
        "ObstaclesHogs3",
    )
)
"""They need pictures of patterns that MiniGrid's package on PyPI lacks."""
SHARED_INFOS = (
    *(
        f"popgym-{game}{level}-v0"
        for game in ("CountRecall", "MultiarmedBandit")
        for level in ("Easy", "Medium", "Hard")
    ),
    *(f"MiniWorld-{shape}Maze{end}-v0" for shape in "TY" for end in ("", "Left", "Right")),
)
"""An array of theirs (``counts``, ``bandits``, ``goal_pos``) is in every info that they hand out."""
ALWAYS_ALIKE = (
    *(f"MiniGrid-{name}-v0" for name in ("DistShift1", "DistShift2")),
    *(f"MiniGrid-Empty-{n}x{n}-v0" for n in (5, 6, 8, 16)),
    "ALE/Bowling-v5",
)
"""MiniGrid's are drawn nowhere, and Bowling takes no notice of the first 300 random actions."""


def find_ids() -> tuple[dict[str, str], dict[str, str]]:
    """Return the suite of every id, and for the ids whose package is not installed what is missing.

    Of VizDoom there are those whose scores are known: some hundred others are the maps of whole games.  Those of Doom
    need a file that is sold, and all have sound, which is not the same under a seed.
    """
    suites, missing = {}, {}
    for suite in SUITES:
        for env_id in (*suite.own, *suite.featured):
            suites[env_id] = suite.name
            try:
                suite.import_for(env_id)
            except ValueError as error:
                missing[env_id] = str(error).removeprefix(f"{env_id} ")
    for env_id in gym.registry:
        found = find_suite(env_id)
        if found is not None and not env_id.startswith("Vizdoom"):
            suites[env_id] = found.name
    return suites, missing


SUITE_OF, MISSING = find_ids()
IDS = tuple(env_id for env_id in SUITE_OF if env_id not in REFUSED)


def case(env_id: str, *values: str) -> Any:
    """The parameters of one test of an id, with its marks."""
    marks = [] if env_id in QUICK else [pytest.mark.conformance]
    if env_id in MISSING:
        marks.append(pytest.mark.skip(reason=MISSING[env_id]))
    return pytest.param(env_id, *values, marks=marks, id="-".join((env_id, *values)))


every_id = pytest.mark.parametrize("env_id", [case(env_id) for env_id in IDS])
every_id_and_its_workers = pytest.mark.parametrize(
    ("env_id", "workers"),
    [
        case(env_id, workers)
        for env_id in IDS
        for workers in ("loop", "batched")
        if workers == "loop" or has_batched_engine(env_id)
    ],
)
pytestmark = pytest.mark.filterwarnings("ignore:Maze environments have been shown")  # what a Labyrinth says of itself


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo and VizDoom leave files where they run."""
    monkeypatch.chdir(tmp_path)


class FreshInfos(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Copies infos, for the ids in ``SHARED_INFOS``: all else that the checker looks at must be right."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return copy.deepcopy(self.env.reset(**kwargs))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return copy.deepcopy(self.env.step(action))


def go_on(env: gym.Env[Any, Any], steps: int = 60) -> list[Any]:
    """Take random steps, always the same, and return all that was seen; observations are held against their space."""
    env.action_space.seed(0)
    record: list[Any] = []
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation), f"{observation!r} is not in {env.observation_space}"
        assert np.isfinite(float(reward))
        assert type(terminated) is bool
        assert type(truncated) is bool
        record += [observation, float(reward), terminated, truncated]
        if terminated or truncated:
            record.append(env.reset()[0])
    return record


def play(env: gym.Env[Any, Any], seed: int, steps: int = 60) -> list[Any]:
    """Begin with a seed, then ``go_on``."""
    observation, _ = env.reset(seed=seed)
    assert env.observation_space.contains(observation)
    return [observation, *go_on(env, steps)]


def same(left: Any, right: Any) -> bool:
    """Return whether two records are equal, number for number."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    return bool(np.array_equal(left, right))


def test_all_that_is_registered_is_here_and_every_suite_in_make_test() -> None:
    assert {env_id for env_id in gym.registry if env_id.startswith("s7rl/")} < set(SUITE_OF)
    assert {env_id for env_id in gym.registry if env_id.startswith(("MiniGrid-", "BabyAI-"))} <= set(SUITE_OF)
    assert {SUITE_OF[env_id] for env_id in QUICK} == {suite.name for suite in SUITES}
    counts = Counter(SUITE_OF.values())
    expected = {"memory": 12, "minigrid": 193, "popgym": 48, "control": 23, "mujoco": 12, "atari": 114, "vision": 12}
    assert all(counts[name] >= count for name, count in expected.items())
    assert len(IDS) == len(SUITE_OF) - len(REFUSED)
    assert set(MISSING) <= set(vision.SUITE.featured)


@every_id
def test_gymnasiums_checker_is_content(env_id: str) -> None:
    env = make_env(env_id, {"disable_env_checker": True})
    # Pictures are the packages' own, and some need a font or a display.
    pictures = SUITE_OF[env_id] == "memory"
    with warnings.catch_warnings():
        # It recommends to check without wrappers; they are what we check.
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        # Noise and velocities have no bounds, and a pendulum is pushed with up to 2 or 3.
        warnings.filterwarnings("ignore", message=".*Box observation space m..imum value is -?infinity")
        warnings.filterwarnings("ignore", message=".*For Box action spaces, we recommend using a symmetric and norm")
        if env_id in SHARED_INFOS:
            with pytest.raises(AssertionError, match=r"^The infos returned by .* share an object"):
                check_env(env, skip_render_check=True)
            env = FreshInfos(env)
        check_env(env, skip_render_check=not pictures)
    env.close()


@every_id
def test_stable_baselines_checker_is_content(env_id: str) -> None:
    env = make_env(env_id)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend you to use a symmetric and normalized Box action space")
        sb3_check_env(env, skip_render_check=True)
    env.close()


@every_id
def test_equal_seeds_give_equal_episodes_and_other_seeds_others(env_id: str) -> None:
    first, second = make_env(env_id), make_env(env_id)
    record = play(first, 7)
    assert same(record, play(second, 7))
    assert same(record, play(first, 7))
    differs = any(
        not same(play(first, 7, steps), play(second, seed, steps)) for steps in (60, 300) for seed in range(8, 14)
    )  # some games begin with music
    assert differs == (env_id not in ALWAYS_ALIKE)
    first.close()
    second.close()


@every_id
def test_a_pickled_environment_goes_on_as_the_original(env_id: str) -> None:
    env = make_env(env_id)
    play(env, 5)
    other = pickle.loads(pickle.dumps(env))
    if isinstance(env.unwrapped, EzPickle):
        # As MuJoCo's: arguments are pickled, not the state, so a seed must come first.
        assert same(play(env, 6), play(other, 6))
    else:
        assert same(go_on(env), go_on(other))
    env.close()
    other.close()


@every_id_and_its_workers
def test_a_thousand_random_steps_in_its_vecenv_stay_within_what_is_declared(env_id: str, workers: str) -> None:
    envs = make_vec(env_id, 2, seed=3, workers=workers)
    longest = find_task(env_id).episode_length
    envs.action_space.seed(0)
    observations = envs.reset()
    for _ in range(500):
        for row in range(2):
            observation = (
                {name: values[row] for name, values in observations.items()}
                if isinstance(observations, dict)
                else observations[row]
            )
            assert envs.observation_space.contains(observation)
        observations, rewards, ended, infos = envs.step(np.stack([envs.action_space.sample() for _ in range(2)]))
        assert rewards.shape == ended.shape == (2,)
        assert np.isfinite(rewards).all()
        for end, info in zip(ended, infos, strict=True):
            assert end == ("terminal_observation" in info) == ("episode" in info)
            if end:
                assert envs.observation_space.contains(info["terminal_observation"])
                assert longest is None or info["episode"]["l"] <= longest
    envs.close()


@pytest.mark.parametrize("env_id", REFUSED)
def test_what_lacks_its_pictures_says_so_in_one_line(env_id: str) -> None:
    with pytest.raises(ValueError, match=f"^{env_id} cannot be made: .* needs pictures of patterns, which") as error:
        make_env(env_id)
    assert "\n" not in str(error.value)


def test_importing_the_floor_and_making_an_environment_of_every_suite_imports_no_torch() -> None:
    code = f"""
import sys
from s7rl.envs import make_env
for env_id in {[env_id for env_id in QUICK if env_id not in MISSING]}:
    make_env(env_id)
    print([name for name in ("torch", "stable_baselines3") if name in sys.modules])
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(output.stdout.splitlines()) == {"[]"}
