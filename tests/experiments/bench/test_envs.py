"""`s7rl bench envs`: hand-computed returns and rates, and what is left out.

Mutations that were tried: all finished episodes counted, returns not told apart by episode, what was under way dropped
or not set back, time-outs not counted as ends; actions drawn while the clock runs, drawn once for all rounds, without
the seed; a first estimate of any size believed; all environments made whatever it takes, the last in place of all; a
rate of one environment, of the time of drawing, VizDoom by the processor's clock; a standard error without the root of
n; an unknown id left out, one that is named twice measured once, an error other than ValueError not caught; a
MultiDiscrete of two axes not flattened.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from s7rl.envs import EngineVectorEnv, task_ids
from s7rl.experiments.bench import envs as envs_module
from s7rl.experiments.bench.random_play import BATCHED, LOOP, RandomPlay, make_envs
from s7rl.experiments.cli import main
from s7rl.experiments.spaces import space_text
from tests.experiments.bench.results import rows


def by_env(folder: Path) -> dict[str, dict[str, str]]:
    return {row["env"]: row for row in rows(folder)}


class Scripted(VectorEnv[Any, Any, Any]):
    """Two rows; step n of either earns n, and episodes are as long as the script says."""

    def __init__(self, lengths: tuple[list[int], list[int]]) -> None:
        self.num_envs = 2
        self.single_observation_space = spaces.Discrete(1)
        self.single_action_space = spaces.Discrete(1000)
        self.observation_space = batch_space(self.single_observation_space, 2)
        self.action_space = batch_space(self.single_action_space, 2)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.ends = [np.cumsum(its) for its in lengths]
        self.steps = 0
        self.actions: list[Any] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return np.zeros(2), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.steps += 1
        self.actions.append(actions)
        ended = np.array([self.steps in its for its in self.ends])
        # The first row's end is of one kind, the second's of the other.
        return np.zeros(2), np.full(2, float(self.steps)), ended & [True, False], ended & [False, True], {}


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 21])
def test_returns_are_those_of_the_first_episodes_of_every_row_however_they_are_cut(steps: int) -> None:
    # 21 steps: the first row ends at 1, 3, 6, 10, 15 and 21, the second at 5 and 9.
    play = RandomPlay(Scripted(([1, 2, 3, 4, 5, 6], [5, 4, 100])), seed=0)
    play.steps = steps
    for _ in range(21 // steps):
        play.draw()
        play.play()
    assert play.returns().tolist() == [1, 2 + 3, 1 + 2 + 3 + 4 + 5, 6 + 7 + 8 + 9]
    assert play.returns().tolist() == [1, 5, 15, 30]


def test_no_return_is_known_before_every_row_has_finished_an_episode() -> None:
    play = RandomPlay(Scripted(([1, 1], [5])), seed=0)
    play.steps = 4
    play.draw()
    play.play()
    assert play.returns().size == 0


def test_actions_are_drawn_before_they_are_taken_and_new_ones_for_every_round() -> None:
    envs = Scripted(([1], [1]))
    play = RandomPlay(envs, seed=0)
    play.steps = 50
    for _ in range(2):
        play.draw()
        state = envs.action_space.np_random.bit_generator.state
        play.play()
        assert envs.action_space.np_random.bit_generator.state == state
    taken = np.array(envs.actions)
    assert taken.shape == (100, 2)
    assert len(np.unique(taken)) > 150  # 200 draws from 1,000; those of one round are 100
    again = Scripted(([1], [1]))
    other = RandomPlay(again, seed=0)
    other.steps = 50
    other.draw()
    other.play()
    assert np.array_equal(again.actions, taken[:50])


def test_a_round_gets_as_many_steps_as_fit_into_its_time() -> None:
    envs = Scripted(([1], [1]))
    play = RandomPlay(envs, seed=0)
    play.calibrate(0.5, clock=lambda: envs.steps * 0.001)
    assert play.steps == 500
    play.calibrate(0.0001, clock=lambda: envs.steps * 0.001)
    assert play.steps == 1


def test_a_first_step_that_is_fast_does_not_make_the_next_round_long() -> None:
    envs = Scripted(([1], [1]))
    play = RandomPlay(envs, seed=0)
    play.calibrate(0.5, clock=lambda: 0.001 if envs.steps == 1 else 0.01 * envs.steps)
    assert envs.steps == 1 + 8
    assert play.steps == 8 * 0.5 // 0.089


def test_environments_are_batched_where_they_can_be_and_fewer_where_they_take_long_to_make() -> None:
    envs, stepped = make_envs("s7rl/TMazePassive-v0", 5, 1e-9)
    assert (envs.num_envs, stepped) == (5, BATCHED)
    for budget, number in ((60.0, 5), (1e-9, 1)):
        envs, stepped = make_envs("CartPole-v1", 5, budget)
        assert (envs.num_envs, stepped) == (number, LOOP)
        assert isinstance(envs, SyncVectorEnv)
        assert len(set(map(id, envs.envs))) == number
        assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP


def test_a_rate_counts_every_environment_and_the_time_of_stepping_alone(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    step, draw = EngineVectorEnv.step, RandomPlay.draw

    def slow_step(self: EngineVectorEnv, actions: Any) -> Any:
        nonlocal now
        now += 0.25
        return step(self, actions)

    def slow_draw(self: RandomPlay) -> None:
        nonlocal now
        now += 100.0
        draw(self)

    monkeypatch.setattr(EngineVectorEnv, "step", slow_step)
    monkeypatch.setattr(RandomPlay, "draw", slow_draw)
    monkeypatch.setattr(envs_module, "CLOCKS", {"processor": lambda: now})
    words = (
        "bench envs --envs s7rl/MemoryLength-v0 s7rl/Reverse-v0 --n-envs 3 --repeats 2 --budget-seconds 0.01 --out x"
    )
    assert main(words.split()) == 0
    table = by_env(empty_directory / "x")
    assert list(table) == ["s7rl/MemoryLength-v0", "s7rl/Reverse-v0"]
    for row in table.values():
        assert float(row["steps_per_second_median"]) == pytest.approx(3 / 0.25)
        assert (row["n_envs"], row["repeats"], row["stepped"], row["clock"]) == ("3", "2", "batched", "processor")


def test_vizdoom_whose_games_are_processes_of_their_own_is_timed_by_the_wall() -> None:
    clocks = {env_id: envs_module.clock_of(env_id) for env_id in task_ids()}
    assert {env_id for env_id, clock in clocks.items() if clock == "wall"} == {e for e in clocks if "Vizdoom" in e}
    assert set(clocks.values()) == set(envs_module.CLOCKS)
    assert envs_module.CLOCKS["processor"] is time.process_time


def test_random_actions_earn_what_theory_says(empty_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "bench envs --envs s7rl/TMazePassive-v0 --n-envs 16 --repeats 2 --budget-seconds 0.1 --out x"
    assert main(words.split()) == 0
    row = by_env(empty_directory / "x")["s7rl/TMazePassive-v0"]
    assert (row["observations"], row["actions"], row["left_out"]) == ("Discrete(4)", "Discrete(4)", "")
    assert float(row["known_random_return"]) == pytest.approx(-1.515)
    error = float(row["standard_error"])
    assert abs(float(row["random_return"]) - float(row["known_random_return"])) < 5 * error < 0.2
    assert int(row["episodes"]) % 16 == 0
    assert sorted(path.name for path in (empty_directory / "x").iterdir()) == ["machine.json", "results.csv"]
    assert "results: x" in capsys.readouterr().out


def test_what_is_not_installed_or_fails_is_left_out_with_a_line(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "popgym", None)

    class Broken(gym.Env[Any, Any]):
        observation_space = action_space = spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            raise KeyError("a piece")

    monkeypatch.setitem(gym.registry, "Broken-v0", EnvSpec("Broken-v0", entry_point=lambda **kwargs: Broken()))
    names = ["popgym-AutoencodeEasy-v0", "s7rl/Reverse-v0", "Broken-v0"]
    assert main(["bench", "envs", "--envs", *names, "--quick", "--out", "x"]) == 0
    output = capsys.readouterr().out
    missing = "popgym-AutoencodeEasy-v0 needs popgym, which is not installed: pip install 's7rl[popgym]'"
    assert f"left out: {missing}\n" in output
    assert "left out: Broken-v0: failed: 'a piece'\n" in output
    table = by_env(empty_directory / "x")
    assert list(table) == names
    assert [bool(row["steps_per_second_median"]) for row in table.values()] == [False, True, False]
    assert table["popgym-AutoencodeEasy-v0"]["left_out"] == missing


def test_an_environment_that_does_not_exist_is_one_line(
    empty_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "envs", "--envs", "s7rl/Revers-v0", "--out", "x"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("s7rl bench envs: unknown environment 's7rl/Revers-v0': did you mean 's7rl/Reverse-v0'?")
    assert error.count("\n") == 1
    assert not (empty_directory / "x").exists()


def test_an_environment_that_is_named_twice_is_refused_in_a_line(
    empty_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["s7rl/Reverse-v0", "s7rl/Copy-v0", "s7rl/Reverse-v0"]
    assert main(["bench", "envs", "--envs", *names, "--out", "x"]) == 2
    assert capsys.readouterr().err.startswith("s7rl bench envs: --envs names 's7rl/Reverse-v0' twice: give it once")
    assert not (empty_directory / "x").exists()


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (spaces.Box(0, 255, (7, 7, 20), np.uint8), "Box(7,7,20)"),
        (spaces.Box(-1, 1, (4,)), "Box(4)"),
        (spaces.Box(-1, 1, ()), "Box()"),
        (spaces.Discrete(8, start=3), "Discrete(8)"),
        (spaces.MultiDiscrete([4, 8]), "MultiDiscrete(4,8)"),
        (spaces.MultiDiscrete(np.array([[4, 8], [2, 3]])), "MultiDiscrete(4,8,2,3)"),
        (spaces.MultiBinary(5), "MultiBinary(5)"),
        (spaces.Text(9), "Text"),
        (
            spaces.Dict(image=spaces.Box(0, 1, (7, 7)), mission=spaces.Discrete(2)),
            "Dict(image: Box(7,7), mission: Discrete(2))",
        ),
        (spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(3))), "Tuple(Discrete(2), MultiBinary(3))"),
    ],
)
def test_a_space_is_named_with_its_size(space: gym.Space[Any], text: str) -> None:
    assert space_text(space) == text
