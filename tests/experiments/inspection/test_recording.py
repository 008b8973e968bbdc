"""What is recorded is what an agent has that plays single environments one after the other.

Mutations seen to fail: actions drawn; the critic's memory in place of the actor's; continuous decisions that are the
most probable ones; further episodes kept whole; states of several widths; the first row's state for all; states kept a
step late; steps counted on over episodes; hidden states not thinned out; a state that is there at first only taken for
one; pictures taken for states; what get_state raises let through.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from s7rl.agents import RecurrentPPO, make_vec
from s7rl.agents.observations import Observations
from s7rl.envs import make_env
from s7rl.experiments.inspection import recording
from s7rl.experiments.inspection.recording import hidden_state_text, hidden_states, record

CORRIDOR = {"corridor_length": 3}
SEED = 7


@pytest.fixture(scope="module")
def model() -> RecurrentPPO:
    torch.manual_seed(3)
    env = make_vec("s7rl/TMazePassive-v0", 2, 0, CORRIDOR)
    network = {"d_model": 8, "d_state": 4, "critic_core": "separate"}
    return RecurrentPPO("MlpPolicy", env, policy_kwargs=network, n_steps=16, seed=3, device="cpu")


@pytest.fixture(params=["batched", "loop"])
def vec_env(request: pytest.FixtureRequest) -> Iterator[VecEnv]:
    env = make_vec("s7rl/TMazePassive-v0", 3, SEED, CORRIDOR, workers=request.param)
    yield env
    env.close()


def played_alone(model: RecurrentPPO, row: int, episodes: int) -> list[dict[str, Any]]:
    """The same episodes, in a single environment."""
    env: Any = make_env("s7rl/TMazePassive-v0", CORRIDOR)
    found = []
    for number in range(episodes):
        observation, _ = env.reset(seed=SEED + row if number == 0 else None)
        state, start, over, total = None, True, False, 0.0
        states, hidden, observations, actions = [], [], [], []
        while not over:
            observations.append(observation)
            hidden.append(env.unwrapped.get_state())
            action, state = model.predict(observation, state, np.array([start]), deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(int(action))
            states.append(state[0])
            actions.append(int(action))
            over, start, total = terminated or truncated, False, total + reward
        found.append(
            {"states": states, "hidden": hidden, "observations": observations, "actions": actions, "return": total}
        )
    return found


def as_list(observations: Observations) -> Any:
    assert isinstance(observations, torch.Tensor)
    return observations.tolist()


def test_states_are_those_of_an_agent_that_plays_alone(model: RecurrentPPO, vec_env: VecEnv) -> None:
    found = record(model.policy, vec_env, 5)
    expected = [one for row, episodes in enumerate((2, 2, 1)) for one in played_alone(model, row, episodes)]
    size = model.policy.core.state_size
    assert found.states.shape == (found.lengths.max(), 5, size)
    assert size < model.policy.state_size  # the critic's memory is left out
    np.testing.assert_array_equal(found.steps, np.arange(found.lengths.max()))
    assert found.hidden is not None
    for number, one in enumerate(expected):
        length = len(one["actions"])
        assert found.lengths[number] == length
        assert found.returns[number] == pytest.approx(one["return"], abs=1e-5)
        np.testing.assert_allclose(found.states[:length, number], np.array(one["states"])[:, :size], atol=1e-5)
        np.testing.assert_array_equal(found.hidden[:length, number], one["hidden"])
        assert np.isnan(found.states[length:, number]).all()
        assert np.isnan(found.hidden[length:, number]).all()
    # The first episode of each environment is kept whole.
    assert [as_list(episode.observations) for episode in found.whole] == [
        expected[number]["observations"] for number in (0, 2, 4)
    ]
    assert [episode.decisions.tolist() for episode in found.whole] == [
        expected[number]["actions"] for number in (0, 2, 4)
    ]


def test_of_long_episodes_every_so_many_steps_are_kept(
    model: RecurrentPPO, vec_env: VecEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = record(model.policy, vec_env, 5)
    vec_env.seed(SEED)
    monkeypatch.setattr(recording, "MOST_POINTS", 3)
    some = record(model.policy, vec_env, 5)
    step = int(some.steps[1])
    # The least power of two for which the longest episode has no more.
    assert math.ceil(every.lengths.max() / step) <= 3 < math.ceil(every.lengths.max() / (step // 2))
    assert some.steps.tolist() == list(range(0, every.lengths.max(), step))
    np.testing.assert_array_equal(some.states, every.states[::step])
    assert some.hidden is not None
    assert every.hidden is not None
    np.testing.assert_array_equal(some.hidden, every.hidden[::step])
    assert [len(one) for one in some.whole] == [len(one) for one in every.whole]


def test_a_wide_memory_is_kept_at_fewer_steps(
    model: RecurrentPPO, vec_env: VecEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MOST_NUMBERS", 3 * model.policy.core.state_size * 2)
    assert len(record(model.policy, vec_env, 3).steps) == 2


def test_an_engine_says_what_its_hidden_state_is(vec_env: VecEnv) -> None:
    batched = "x, y, the y of the goal and the number of steps taken"
    assert hidden_state_text(vec_env) in (batched, "")
    vec_env.reset()
    states = hidden_states(vec_env)
    assert states is not None
    # At the start, in either arm's maze.
    assert [state[[0, 1, 3]].tolist() for state in states] == [[0, 0, 0]] * 3


class Shows(gym.Env[Any, Any]):
    """Ends after three steps; its state is what a test wants."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (1,))
    state: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.full(2, 0.5, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.full(2, 0.5, np.float32), 1.0, self.steps == 3, False, {}


class ShowsState(Shows):
    def get_state(self) -> Any:
        return self.state(self.steps)


def recorded(env: type[Shows]) -> recording.Recording:
    torch.manual_seed(0)
    vec_env = VecMonitor(DummyVecEnv([env]))
    model = RecurrentPPO("MlpPolicy", vec_env, policy_kwargs={"core": "gru", "d_model": 4}, n_steps=4, device="cpu")
    return record(model.policy, vec_env, 2)


def test_nested_states_are_rows_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ShowsState, "state", staticmethod(lambda steps: {"a": (np.array([[steps, 2]]), 3.5), "b": True})
    )
    found = recorded(ShowsState).hidden
    assert found is not None
    assert found[:, 0].tolist() == [[0, 2, 3.5, 1], [1, 2, 3.5, 1], [2, 2, 3.5, 1]]


STATES: dict[str, Callable[..., object]] = {
    "grows": lambda steps: [1.0] * (steps + 1),
    "is an object": lambda steps: {"rng": np.random.default_rng(), "step": steps},
    "is bytes": lambda steps: b"saved",
    "is nothing": lambda steps: None,
    "is empty": lambda steps: [],
    "is a picture": lambda steps: np.zeros((84, 84)),
    "fails": lambda steps: 1 / 0,
    "needs an argument": lambda steps, what: 0,
    "is there at first only": lambda steps: 0 if steps == 0 else None,
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_is_not_as_many_numbers_at_all_times_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShowsState, "state", staticmethod(STATES[name]))
    found = recorded(ShowsState)
    assert found.hidden is None
    assert found.lengths.tolist() == [3, 3]


def test_an_environment_without_a_state_has_none() -> None:
    assert recorded(Shows).hidden is None


def test_continuous_decisions_are_drawn_and_where_nothing_is_said_of_success_there_is_none() -> None:
    found = recorded(Shows)
    assert found.successes is None
    assert found.returns.tolist() == [3.0, 3.0]
    (episode,) = found.whole
    # The same observation each time: what is most probable changes slowly, what is drawn does not.
    assert episode.decisions.shape == (3, 1)
    assert float(episode.decisions.std()) > 0.1
