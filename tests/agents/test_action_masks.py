"""Action masks from environments to the loss, with recurrence.

Mutations that were seen to fail these tests: masks not handed to the
learner; the masks of a batched environment stacked once more; the check of a part that allows nothing left out;
vector wrappers and Gymnasium's loop over environments not looked through; masks of the wrong number of rows reshaped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from numpy.typing import NDArray
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecMonitor, VecNormalize

from s7rl.agents import BatchedVecEnv, RecurrentPPO
from s7rl.agents.action_masks import check_action_masks, get_action_masks, is_masking_supported
from s7rl.agents.distributions import mask_parts
from s7rl.agents.rollout_buffer import minibatches

ACTIONS = (spaces.Discrete(4), spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(2))
every_action_space = pytest.mark.parametrize("action_space", ACTIONS, ids=lambda space: type(space).__name__)


class Forbidding(gym.Env[NDArray[np.float32], Any]):
    """Which actions are allowed follows from row and time alone; one that is not ends the test."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))

    def __init__(self, row: int, action_space: spaces.Space[Any] = ACTIONS[0]) -> None:
        self.row, self.action_space, self.t = row, action_space, 0

    def action_masks(self) -> NDArray[np.bool_]:
        rng = np.random.default_rng([self.row, self.t])
        masks = []
        for part in mask_parts(self.action_space):
            allowed = rng.random(part) < 0.5
            allowed[rng.integers(part)] = True
            masks.append(allowed)
        return np.concatenate(masks)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.t += 1  # the first observation of an episode has a mask of its own
        return self.observe(), {}

    def observe(self) -> NDArray[np.float32]:
        return np.array([np.sin(self.t), np.cos(self.row)], dtype=np.float32)

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        chosen, first = np.atleast_1d(action).astype(int), 0
        for part, choice in zip(mask_parts(self.action_space), chosen, strict=True):
            assert self.action_masks()[first + choice], f"action {action} is forbidden at {self.t}"
            first += part
        self.t += 1
        return self.observe(), float(chosen.sum()), self.t % 5 == 0, self.t % 7 == 0, {}


def makers(number: int, action_space: spaces.Space[Any] = ACTIONS[0]) -> list[Callable[[], gym.Env[Any, Any]]]:
    return [partial(Forbidding, row, action_space) for row in range(number)]


def forbidding(number: int, action_space: spaces.Space[Any] = ACTIONS[0]) -> DummyVecEnv:
    return DummyVecEnv(makers(number, action_space))


@every_action_space
@pytest.mark.parametrize("core", ["s7", "gru"])
def test_an_agent_with_memory_never_takes_what_is_forbidden(action_space: spaces.Space[Any], core: str) -> None:
    env = forbidding(3, action_space)
    model = RecurrentPPO(
        "MlpPolicy",
        env,
        n_steps=16,
        batch_size=24,
        sequence_length=8,
        seed=0,
        policy_kwargs={"core": core, "d_model": 8},
    )
    model.learn(3 * 16 * 3)
    masks = model.rollout_buffer.action_masks
    assert masks is not None
    assert not masks.all()
    obs: Any = env.reset()
    state, starts = None, np.ones(3, dtype=bool)
    for deterministic in (True, False) * 10:
        allowed = get_action_masks(env)
        actions, state = model.predict(obs, state, starts, deterministic, action_masks=allowed)
        obs, _, starts, _ = env.step(actions)


@every_action_space
def test_the_learner_sees_the_masks_that_the_actor_had(action_space: spaces.Space[Any]) -> None:
    model = RecurrentPPO("MlpPolicy", forbidding(4, action_space), n_steps=12, learning_rate=0.0, seed=1)
    model.learn(48)
    for batch in minibatches(model.rollout_buffer.sequences(), 2):
        values, log_probs, _, _ = model.policy.evaluate_actions(
            batch.observations, batch.actions, batch.initial_state, batch.episode_starts, batch.action_masks
        )
        torch.testing.assert_close((log_probs - batch.log_probs).exp(), torch.ones(12, 2), rtol=0, atol=1e-5)
        torch.testing.assert_close(values, batch.values, rtol=1e-5, atol=1e-5)
    assert abs(model.logger.name_to_value["train/approx_kl"]) < 1e-5


def test_masks_can_be_left_out_and_cannot_be_made_up() -> None:
    model = RecurrentPPO("MlpPolicy", forbidding(2), n_steps=4)
    with pytest.raises(AssertionError, match="is forbidden"):
        model.learn(80, use_masking=False)
    free = RecurrentPPO("MlpPolicy", "CartPole-v1", n_steps=4)
    free.learn(64, use_masking=False)
    with pytest.raises(ValueError, match=r"^use_masking is True, [^\n]+$"):
        free.learn(64, use_masking=True)


class ForbiddingVector(SyncVectorEnv):
    def action_masks(self) -> NDArray[np.bool_]:
        return np.stack([env.unwrapped.action_masks() for env in self.envs])  # type: ignore[attr-defined]


def vector_env(number: int) -> VectorEnv:
    return ForbiddingVector(makers(number), autoreset_mode=AutoresetMode.SAME_STEP)


@pytest.mark.parametrize("kind", ["dummy", "processes", "batched", "wrapped", "loop", "async"])
def test_masks_are_read_from_every_kind_of_vector_environment_and_through_wrappers(kind: str) -> None:
    kinds: dict[str, Any] = {
        "dummy": lambda: DummyVecEnv(makers(3)),
        "processes": lambda: SubprocVecEnv(makers(3), start_method="fork"),
        "batched": lambda: BatchedVecEnv(vector_env(3)),
        "wrapped": lambda: BatchedVecEnv(RecordEpisodeStatistics(vector_env(3))),
        "loop": lambda: BatchedVecEnv(SyncVectorEnv(makers(3), autoreset_mode=AutoresetMode.SAME_STEP)),
        "async": lambda: BatchedVecEnv(
            AsyncVectorEnv(makers(3), autoreset_mode=AutoresetMode.SAME_STEP, context="fork", shared_memory=False)
        ),
    }
    env: VecEnv = VecNormalize(VecMonitor(kinds[kind]()))
    env.reset()
    assert is_masking_supported(env)
    expected = []
    for row in range(3):
        single = Forbidding(row)
        single.reset()
        expected.append(single.action_masks())
    np.testing.assert_array_equal(get_action_masks(env), np.stack(expected))
    env.close()


def test_an_environment_without_masks_is_found_out() -> None:
    cart_poles = [lambda: gym.make("CartPole-v1")] * 2
    assert not is_masking_supported(gym.make("CartPole-v1"))
    assert not is_masking_supported(DummyVecEnv(cart_poles))
    for kind in (SyncVectorEnv, lambda *args, **kwargs: RecordEpisodeStatistics(SyncVectorEnv(*args, **kwargs))):
        assert not is_masking_supported(BatchedVecEnv(kind(cart_poles, autoreset_mode=AutoresetMode.SAME_STEP)))


def test_a_single_environment_is_a_batch_of_one_and_sb3_contribs_wrapper_works() -> None:
    plain = gym.make("CartPole-v1")
    env = TimeLimit(ActionMasker(plain, lambda env: np.array([env is plain, False])), 10)
    assert is_masking_supported(env)
    assert get_action_masks(env).tolist() == [[True, False]]


def test_sb3_contribs_evaluation_takes_only_what_is_allowed() -> None:
    model: Any = RecurrentPPO("MlpPolicy", forbidding(2), n_steps=4, policy_kwargs={"core": "gru", "d_model": 8})
    returns: Any = evaluate_policy(
        model, VecMonitor(forbidding(3)), 9, deterministic=False, return_episode_rewards=True
    )[0]
    assert len(returns) == 9


def test_zeros_and_ones_are_masks_too() -> None:
    assert check_action_masks([[1, 0, 1]], 1, spaces.Discrete(3)).tolist() == [[True, False, True]]


def test_masks_with_one_row_per_action_in_place_of_one_per_environment_are_refused() -> None:
    message = r"^action_masks have shape \(4, 3\), but 3 environment\(s\) [^\n]+ need \(3, 4\)[^\n]+$"
    with pytest.raises(ValueError, match=message):
        check_action_masks(np.ones((4, 3), dtype=bool), 3, spaces.Discrete(4))


def test_masks_may_have_an_axis_for_bits_and_one_environment_none_for_environments() -> None:
    masks = np.array([[[True, False], [False, True]], [[True, True], [True, False]]])
    assert np.array_equal(check_action_masks(masks, 2, spaces.MultiBinary(2)), masks.reshape(2, 4))
    assert np.array_equal(check_action_masks(masks[0].ravel(), 1, spaces.MultiBinary(2)), masks[:1].reshape(1, 4))


@pytest.mark.parametrize(
    ("masks", "action_space", "message"),
    [
        ([[True, False]], spaces.Discrete(3), r"action_masks have shape \(1, 2\), but [^\n]+ need \(1, 3\)[^\n]+"),
        ([[2, 0, 1]], spaces.Discrete(3), r"action_masks are of int64, [^\n]+"),
        ([[False, False]], spaces.Discrete(2), r"action_masks of environment 0 allow no action: [^\n]+"),
        ([[1, 0, 0, 0]], spaces.MultiDiscrete([2, 2]), r"[^\n]+ environment 0 allow no action for part 1 of it[^\n]+"),
        ([[1, 0], [0, 0]], spaces.MultiBinary(1), r"action_masks of environment 1 allow no action[^\n]+"),
        ([[1, 0], [0]], spaces.Discrete(2), r"action_masks have different lengths[^\n]+"),
        ([[1, 1]], spaces.Box(-1, 1, (2,)), r"the action space is Box[^\n]+"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(
    masks: list[Any], action_space: spaces.Space[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        check_action_masks(masks, len(masks), action_space)


def test_whether_there_are_masks_is_asked_once_and_not_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    env = SyncVectorEnv(makers(2), autoreset_mode=AutoresetMode.SAME_STEP)
    asked: list[str] = []
    call = env.call

    def spy(name: str, *arguments: Any) -> Any:
        asked.append(name)
        return call(name, *arguments)

    monkeypatch.setattr(env, "call", spy)
    RecurrentPPO("MlpPolicy", env, n_steps=6).learn(12)
    assert asked == ["has_wrapper_attr", *["action_masks"] * 6]
