"""Masked observations: against indexing by hand and Gymnasium's documentation of the entries.

Mutations tried, each of which fails a test here: ``keep`` and ``hide`` exchanged; the order of ``keep`` taken over;
bounds of the wrong entries; a velocity among the positions in each table; a group name that stands for its first entry;
``skipped_qpos`` counted; the shape of the observation not compared; negative indices let through.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from s7rl.envs import make_batched
from s7rl.envs.wrappers.entries import known_entries
from s7rl.envs.wrappers.masking import MaskObservation, PositionOnly, PositionOnlyVector, VelocityOnly
from tests.envs.wrappers.babbler import Babbler, assert_same

# Entries, left to right: p position, v velocity, o other.  Written from the tables of Gymnasium's documentation.
KINDS = {
    "CartPole-v1": "pvpv",
    "MountainCar-v0": "pv",
    "MountainCarContinuous-v0": "pv",
    "Pendulum-v1": "ppv",
    "Acrobot-v1": "ppppvv",
    "LunarLander-v3": "ppvvpvpp",
    "LunarLanderContinuous-v3": "ppvvpvpp",
    "BipedalWalker-v3": "pvvv" + "pvpvp" * 2 + "p" * 10,
    "InvertedPendulum-v5": "ppvv",
    "InvertedDoublePendulum-v5": "p" * 5 + "vvv" + "o",
    "Reacher-v5": "p" * 6 + "vv" + "pp",
    "Pusher-v5": "p" * 7 + "v" * 7 + "p" * 9,
    "Hopper-v5": "p" * 5 + "v" * 6,
    "HalfCheetah-v5": "p" * 8 + "v" * 9,
    "Walker2d-v5": "p" * 8 + "v" * 9,
    "Swimmer-v5": "p" * 3 + "v" * 5,
    "Ant-v5": "p" * 13 + "v" * 14 + "o" * 78,
    "Humanoid-v5": "p" * 22 + "v" * 23 + "o" * 303,
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo leaves a log file where it runs."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("env_id", KINDS)
@pytest.mark.filterwarnings("ignore:.*settotalmass")
def test_positions_and_velocities_are_those_of_the_documentation(env_id: str) -> None:
    full = gym.make(env_id)
    space = full.observation_space
    assert isinstance(space, spaces.Box)
    assert len(KINDS[env_id]) == space.shape[0]
    first, _ = full.reset(seed=4)
    for wrapper, letter in ((PositionOnly, "p"), (VelocityOnly, "v")):
        seen = [i for i, kind in enumerate(KINDS[env_id]) if kind == letter]
        env = wrapper(gym.make(env_id))
        assert_same(env.reset(seed=4)[0], first[seen])
        assert env.observation_space == spaces.Box(space.low[seen], space.high[seen], dtype=space.dtype.type)


def test_what_velocities_are_changes_at_once_and_what_positions_are_hardly() -> None:
    # Independent of the tables: in one short time step, a force changes velocities more than positions.
    for env_id, scale in (("CartPole-v1", 5), ("Pendulum-v1", 5)):
        env = gym.make(env_id)
        before, _ = env.reset(seed=0)
        action = 1 if env_id == "CartPole-v1" else np.array([2.0], np.float32)
        change = np.abs(env.step(action)[0] - before)
        positions = [kind == "p" for kind in KINDS[env_id]]
        assert change[np.logical_not(positions)].min() > scale * change[positions].max()


@pytest.mark.parametrize(
    ("env_id", "arguments", "seen"),
    [
        ("CartPole-v1", {"keep": [2, 0]}, [0, 2]),
        ("CartPole-v1", {"hide": [2, 0]}, [1, 3]),
        ("CartPole-v1", {"keep": ["pole_angle", "cart_velocity"]}, [1, 2]),
        ("CartPole-v1", {"keep": ["pole_angle", 0]}, [0, 2]),
        ("CartPole-v1", {"keep": (np.int64(3),)}, [3]),
        ("LunarLander-v3", {"hide": ["left_contact", "angle"]}, [0, 1, 2, 3, 5, 7]),
        ("BipedalWalker-v3", {"keep": ["lidar[9]", "hip_2_speed", "leg_1_contact"]}, [8, 10, 23]),
        ("Hopper-v5", {"keep": ["qvel"]}, [5, 6, 7, 8, 9, 10]),
        ("Hopper-v5", {"keep": ["qvel[0]", "qpos[4]"]}, [4, 5]),
        ("Swimmer-v5", {"hide": ["qpos", "qvel[1]"]}, [3, 5, 6, 7]),
        ("Ant-v5", {"hide": ["cfrc_ext"]}, list(range(27))),
    ],
)
@pytest.mark.filterwarnings("ignore:.*settotalmass")
def test_a_vector_is_masked_by_index_or_name_in_its_own_order(
    env_id: str, arguments: dict[str, Any], seen: list[int]
) -> None:
    full, env = gym.make(env_id), MaskObservation(gym.make(env_id), **arguments)
    space = full.observation_space
    assert isinstance(space, spaces.Box)
    assert env.observation_space == spaces.Box(space.low[seen], space.high[seen], dtype=space.dtype.type)
    assert_same(env.reset(seed=2)[0], full.reset(seed=2)[0][seen])
    action = full.action_space.sample()
    assert_same(env.step(action)[0], full.step(action)[0][seen])


def test_names_follow_what_an_environment_leaves_out() -> None:
    entries = known_entries(gym.make("Hopper-v5", exclude_current_positions_from_observation=False))
    assert entries is not None
    assert (entries.names["qpos"], entries.names["qvel"]) == (tuple(range(6)), tuple(range(6, 12)))
    entries = known_entries(gym.make("Ant-v5", include_cfrc_ext_in_observation=False))
    assert entries is not None
    assert "cfrc_ext" not in entries.names


def test_a_dict_is_masked_by_key_and_a_tuple_by_index() -> None:
    full, env = Babbler("dict"), MaskObservation(Babbler("dict"), hide=["a"])
    assert env.observation_space == spaces.Dict(b=full.observation_space["b"])  # type: ignore[index]
    assert_same(env.reset(seed=0)[0], {"b": full.reset(seed=0)[0]["b"]})
    several, some = Babbler("tuple"), MaskObservation(Babbler("tuple"), keep=[2, 0])
    assert isinstance(several.observation_space, spaces.Tuple)
    assert some.observation_space == spaces.Tuple([several.observation_space[0], several.observation_space[2]])
    shown = several.reset(seed=0)[0]
    assert_same(some.reset(seed=0)[0], (shown[0], shown[2]))


def test_a_masked_observation_is_a_copy() -> None:
    env = MaskObservation(Babbler(), keep=[0, 1])
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(2)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("env", "arguments", "message"),
    [
        (
            "CartPole-v1",
            {"keep": [4]},
            r"keep has 4, .+ CartPole-v1's observation: there are 0 to 3 or 'cart_position',",
        ),
        ("CartPole-v1", {"hide": [-1]}, r"hide has -1, which is no entry"),
        ("CartPole-v1", {"keep": ["cart_positon"]}, r"did you mean 'cart_position'\?"),
        ("CartPole-v1", {"keep": [0, "cart_position"]}, r"has the entry 0 twice; name each once"),
        ("CartPole-v1", {"keep": []}, r"keep \(\[\]\) leaves nothing to see"),
        ("CartPole-v1", {"hide": range(4)}, r"hide \(\[0, 1, 2, 3\]\) leaves nothing to see"),
        ("box", {"keep": ["cart_position"]}, r"keep has 'cart_position', .+ Babbler's observation: there are 0 to 2\."),
        ("dict", {"keep": [0]}, r"keep has 0, .+: there are 'a', 'b'\."),
        ("tuple", {"hide": ["0"]}, r"hide has '0', .+: there are 0 to 2\."),
        ("matrix", {"keep": [0]}, r"takes a vector .+FlattenObservation"),
        ("discrete", {"keep": [0]}, r"takes a vector .+FlattenObservation"),
    ],
)
def test_what_cannot_be_masked_is_refused_in_one_line(env: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        MaskObservation(gym.make(env) if "-" in env else Babbler(env), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{}, {"keep": [0], "hide": [1]}])
def test_exactly_one_of_keep_and_hide_is_given(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^(neither of keep and hide is|keep and hide are both) given, [^\n]+\.$"):
        MaskObservation(Babbler(), **arguments)


def test_of_an_unknown_environment_nothing_is_guessed() -> None:
    unknown = r"^VelocityOnly does not know [^\n]+ Babbler [^\n]+: use MaskObservation\(env, keep=\[\.\.\.\]\)"
    with pytest.raises(ValueError, match=unknown):
        VelocityOnly(Babbler())
    with pytest.raises(ValueError, match=r"^PositionOnly does not know which entries of CartPole-v1 are positions"):
        PositionOnly(gym.wrappers.FrameStackObservation(gym.make("CartPole-v1"), 2))
    with pytest.raises(ValueError, match=r"^PositionOnly does not know"):
        PositionOnlyVector(make_batched("s7rl/CartPolePositionOnly-v0", 2))


def test_a_known_environment_is_known_through_wrappers_that_keep_the_shape_and_in_vector_environments() -> None:
    env = gym.make("CartPole-v1")
    assert known_entries(gym.wrappers.DelayObservation(env, 1)) == known_entries(env) is not None
    envs = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    assert known_entries(envs) == known_entries(env)
    assert known_entries(MaskObservation(env, hide=[0])) is None
