"""`s7rl watch`: the episodes of an evaluation, one after another, with what the agent thought at each step.

Mutations seen to fail: no first observation told to the agent; the first view of the next episode at the end of one; no
reset after an episode that was cut short; the value and the distribution with the state of the step after; actions not
counted from the start of their space; continuous actions not squashed, or not clipped; the colors of the bars swapped;
observations not normalised; durations in hundredths of a second; dollar signs in a title or drawing read as a formula.
"""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from s7rl.agents import RecurrentPPO, make_vec
from s7rl.agents.distributions import MaskableBernoulli, MaskableCategorical, MaskableMultiCategorical
from s7rl.envs import make_env
from s7rl.experiments.cli import main
from s7rl.experiments.evaluation import play_episodes
from s7rl.experiments.pictures import BLUE, ORANGE
from s7rl.experiments.watching.choices import Intervals, Probabilities, describe_choice
from s7rl.experiments.watching.film import write_film
from s7rl.experiments.watching.moments import Filmed, Moment, View, moments
from s7rl.experiments.watching.pictures import Painter
from s7rl.experiments.watching.text import moment_as_text

TINY = ["--n-envs", "8", "--n-steps", "32", "--d-model", "16", "--d-state", "16", "--eval-episodes", "0"]
TASKS = {
    "tmaze": ["s7rl/TMazePassive-v0", "--env-kwargs", "corridor_length=3"],
    "normalised": ["s7rl/CartPolePositionOnly-v0"],
}


@pytest.fixture(scope="module", params=TASKS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one rollout."""
    folder: Path = tmp_path_factory.mktemp("runs") / request.param
    assert main(["train", *TASKS[request.param], *TINY, "--steps", "256", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in a T-maze."""
    folder = tmp_path_factory.mktemp("runs") / "maze"
    assert main(["train", *TASKS["tmaze"], *TINY, "--steps", "256", "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("run", TASKS, indirect=True)
def test_the_first_episode_is_that_of_an_evaluation(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # a window without a screen
    main(["evaluate", str(run), "--episodes", "1", "--actions", "deterministic"])
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    table = {row[1].strip(): row[2].strip() for row in rows}
    assert main(["watch", str(run)]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    words = last.split()
    assert words[:3] == ["episode", "1", "step"]
    assert float(words[3]) == float(table["episode length"])
    assert float(words[5]) == pytest.approx(float(table["return"].split()[0]), abs=0.006)


@pytest.mark.parametrize(("given", "driver"), [(None, "dummy"), ("x11", "x11")])
def test_a_film_needs_no_screen_and_leaves_signals_alone(
    given: str | None, driver: str, maze: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("SDL_VIDEODRIVER", "SDL_NO_SIGNAL_HANDLERS")
    for name in names:
        monkeypatch.setenv(name, given or "")  # so that it is put back
        if given is None:
            monkeypatch.delenv(name)
    seen: list[tuple[str | None, ...]] = []

    def noted(*arguments: Any, **options: Any) -> gym.Env[Any, Any]:
        seen.append(tuple(map(os.environ.get, names)))
        return make_env(*arguments, **options)

    monkeypatch.setattr("s7rl.experiments.watch.make_env", noted)
    assert main(["watch", str(maze), "--video", str(tmp_path / "x.gif"), "--max-steps", "2"]) == 0
    assert seen[-1] == (driver, given or "1")


def agent_in(env_id: str, **kwargs: Any) -> RecurrentPPO:
    policy = {"d_model": 8, "d_state": 8}
    return RecurrentPPO("MlpPolicy", make_vec(env_id, 1, 0, kwargs), policy_kwargs=policy, n_steps=8, seed=0)


def watched(model: RecurrentPPO, episodes: int, max_steps: int) -> Iterator[Moment]:
    filmed = Filmed(make_env("s7rl/TMazePassive-v0", {"corridor_length": 3}, "ansi"))
    vec_env = DummyVecEnv([lambda: Monitor(filmed)])
    vec_env.seed(5)
    return moments(model, vec_env, filmed, episodes, max_steps, deterministic=True)


def test_every_episode_begins_with_an_empty_memory_and_shows_its_own_end() -> None:
    model = agent_in("s7rl/TMazePassive-v0", corridor_length=3)
    (evaluation,) = play_episodes(model, make_vec("s7rl/TMazePassive-v0", 1, 5, {"corridor_length": 3}), 4)
    shown = list(watched(model, 4, 1000))
    ends = [moment for moment in shown if moment.choice is None]
    assert [moment.step for moment in ends] == list(evaluation.lengths)
    assert [moment.total for moment in ends] == pytest.approx(evaluation.returns)
    assert [moment.episode for moment in ends] == [1, 2, 3, 4]
    # The hidden state is x, y, the goal's y, and the steps.
    for moment in shown:
        assert moment.view.hidden is not None
        assert moment.view.hidden[3] == moment.step
        assert isinstance(moment.view.scene, str)
    values = [moment.value for moment in shown if moment.step == 0]
    cues = [int(moment.view.observation) for moment in shown if moment.step == 0]
    # What the first observation is worth depends on the cue only.
    assert len({*zip(cues, values, strict=True)}) == len({*cues}) == 2


def test_an_episode_that_is_cut_short_is_followed_by_a_new_one() -> None:
    model = agent_in("s7rl/TMazePassive-v0", corridor_length=3)
    shown = list(watched(model, 2, 2))
    assert [(moment.episode, moment.step) for moment in shown] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert [moment.outcome for moment in shown if moment.choice is None] == ["stopped after 2 steps"] * 2
    assert [int(moment.view.hidden[3]) for moment in shown if moment.view.hidden is not None] == [0, 1, 2] * 2


def test_values_and_probabilities_are_those_that_the_policy_learns_by() -> None:
    model = agent_in("s7rl/TMazePassive-v0", corridor_length=3)
    shown = [moment for moment in watched(model, 1, 1000) if moment.choice is not None]
    observations = torch.tensor([int(moment.view.observation) for moment in shown])
    actions = np.array([np.flatnonzero(moment.choice.taken)[0] for moment in shown])  # type: ignore[union-attr]
    starts = torch.arange(len(shown))[:, None] == 0
    with torch.no_grad():
        values, log_probs, _, _ = model.policy.evaluate_actions(
            observations[:, None], torch.as_tensor(actions)[:, None], model.policy.initial_state(1), starts
        )
    assert log_probs is not None
    taken = [moment.choice.probabilities[moment.choice.taken].item() for moment in shown]  # type: ignore[union-attr]
    np.testing.assert_allclose(taken, log_probs.exp().flatten(), rtol=1e-5)
    np.testing.assert_allclose([moment.value for moment in shown], values.flatten(), rtol=1e-4, atol=1e-6)  # type: ignore[arg-type]


class Still(gym.Env[Any, Any]):
    """Nothing happens in it."""

    observation_space = spaces.Box(-1, 1, (2,))

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.full(2, 0.5, dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.full(2, 0.5, dtype=np.float32), 0.0, False, False, {}


def still_agent(action_space: spaces.Space[Any], **options: Any) -> RecurrentPPO:
    kwargs = {"d_model": 8, "d_state": 8, **options.pop("policy_kwargs", {})}
    return RecurrentPPO("MlpPolicy", Still(action_space), policy_kwargs=kwargs, n_steps=8, seed=0, **options)


def test_discrete_choices_have_the_names_of_the_environment() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.7]]).log()
    policy = still_agent(spaces.Discrete(3, start=-1)).policy
    distribution = MaskableCategorical(3).proba_distribution(logits)
    distribution.apply_masking(torch.tensor([[True, False, True]]))
    choice = describe_choice(policy, distribution, np.array(1))
    assert isinstance(choice, Probabilities)
    assert (choice.labels, choice.taken.tolist()) == (("-1", "0", "1"), [False, False, True])
    np.testing.assert_allclose(choice.probabilities, [0.125, 0, 0.875], rtol=1e-6)

    policy = still_agent(spaces.MultiDiscrete([2, 3], start=[0, 5])).policy
    parts = MaskableMultiCategorical([2, 3]).proba_distribution(torch.tensor([[0.4, 0.6, 0.2, 0.5, 0.3]]).log())
    choice = describe_choice(policy, parts, np.array([1, 5]))
    assert isinstance(choice, Probabilities)
    assert choice.labels == ("0:0", "0:1", "1:5", "1:6", "1:7")
    assert choice.taken.tolist() == [False, True, True, False, False]
    np.testing.assert_allclose(choice.probabilities, [0.4, 0.6, 0.2, 0.5, 0.3], rtol=1e-6)

    policy = still_agent(spaces.MultiBinary(2)).policy
    bits = MaskableBernoulli(2).proba_distribution(torch.tensor([[0.25, 0.5]]).logit())
    choice = describe_choice(policy, bits, np.array([1, 0]))
    assert isinstance(choice, Probabilities)
    assert (choice.labels, choice.taken.tolist()) == (("0", "1"), [True, False])
    np.testing.assert_allclose(choice.probabilities, [0.25, 0.5], rtol=1e-6)


@pytest.mark.parametrize("squash", [False, True])
def test_continuous_choices_are_in_the_units_of_the_environment(squash: bool) -> None:
    space = spaces.Box(np.array([-4.0, -0.5], dtype=np.float32), np.array([4.0, 0.5], dtype=np.float32))
    options: dict[str, Any] = {"use_sde": True, "policy_kwargs": {"squash_output": True}} if squash else {}
    model = still_agent(space, **options)
    filmed = Filmed(Still(space))
    vec_env = DummyVecEnv([lambda: Monitor(filmed)])
    first = next(moments(model, vec_env, filmed, 1, 1, deterministic=True))
    choice = first.choice
    assert isinstance(choice, Intervals)
    np.testing.assert_allclose(choice.mean, choice.taken, rtol=1e-6)
    assert (choice.low < choice.mean).all()
    assert (choice.mean < choice.high).all()
    if squash:
        assert (np.abs([choice.low, choice.high]) < space.high).all()
    else:
        # A deviation of 1, as the network begins: within the bounds of the first action, beyond those of the other.
        np.testing.assert_allclose(choice.high[0] - choice.mean[0], 1.0, rtol=1e-5)
        assert (choice.low[1], choice.high[1]) == (-0.5, 0.5)


@pytest.mark.parametrize("deterministic", [True, False])
def test_noise_is_renewed_where_actions_are_drawn(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = still_agent(spaces.Box(-1.0, 1.0, (2,)), use_sde=True, sde_sample_freq=2)
    filmed = Filmed(Still(spaces.Box(-1.0, 1.0, (2,))))
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(model, "renew_noise", lambda *told_of: told.append(told_of))
    list(moments(model, DummyVecEnv([lambda: Monitor(filmed)]), filmed, 1, 3, deterministic=deterministic))
    assert told == ([] if deterministic else [(0, 1), (1, 1), (2, 1)])


def moment(choice: Any, step: int = 0, scene: Any = None) -> Moment:
    view = View(scene, np.zeros(2, dtype=np.float32), None)
    return Moment(episode=1, step=step, total=0.0, view=view, choice=choice, value=0.5)


def heights(picture: NDArray[np.uint8], color: str) -> NDArray[np.int64]:
    """How high a color stands in each column of the part of a picture that has the bars."""
    bars = picture[: 6 * picture.shape[0] // 10, picture.shape[1] // 2 :].astype(int)
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    counted: NDArray[np.int64] = (np.abs(bars - wanted).max(axis=-1) < 3).sum(axis=0)
    return counted


def test_a_picture_has_the_scene_and_bars_as_high_as_the_probabilities() -> None:
    choice = Probabilities(
        labels=("0", "1"), probabilities=np.array([0.8, 0.2]), taken=np.array([False, True], dtype=bool)
    )
    Painter(spaces.Box(-1, 1, (2,)), "costs $^$").paint(moment(choice, scene="gold: $^$"))  # no formulas
    green = np.zeros((10, 10, 3), dtype=np.uint8)
    green[..., 1] = 200
    picture = Painter(spaces.Box(-1, 1, (2,)), "a title").paint(moment(choice, scene=green))
    assert (picture[220, 240] == [0, 200, 0]).all()
    blue, orange = heights(picture, BLUE), heights(picture, ORANGE)
    assert blue.max() / orange.max() == pytest.approx(4.0, rel=0.1)  # edges are blurred
    # The taken one is the second.
    assert np.flatnonzero(orange).min() > np.flatnonzero(blue).max()


@pytest.mark.parametrize(
    ("space", "observation"),
    [
        (spaces.Discrete(4), 2),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), np.arange(192, dtype=np.uint8).reshape(8, 8, 3)),
        (spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(-1, 1, (40,))}), {"a": 1, "b": np.ones(40)}),
    ],
)
def test_what_cannot_be_rendered_is_painted_as_the_agent_sees_it(space: Any, observation: Any) -> None:
    choice = Intervals(low=-np.ones(1), mean=np.zeros(1), high=np.ones(1), taken=np.zeros(1))
    blind = Moment(episode=1, step=0, total=0.0, view=View(None, observation, None), choice=choice, value=0.0)
    picture = Painter(space, "").paint(blind)
    assert np.ptp(picture[50:, : picture.shape[1] // 2]) > 100


def test_a_film_has_a_picture_for_each_step_and_one_for_the_end(
    maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "maze.gif"
    assert (
        main(["watch", str(maze), "--video", str(film), "--episodes", "2", "--fps", "20", "--actions", "sampled"]) == 0
    )
    *ends, last = capsys.readouterr().out.splitlines()
    steps = [int(line.split()[3]) for line in ends]
    assert len(steps) == 2
    # Pictures that are alike are one that is shown for longer.
    with Image.open(film) as image:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
    assert sum(durations) == 50 * (sum(steps) + 2)
    assert last.startswith(f"{film}: {sum(steps) + 2} pictures, ")
    assert [path.name for path in tmp_path.iterdir()] == ["maze.gif"]


def test_an_mp4_has_every_picture_at_its_time(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    shades = [np.full((40, 60, 3), shade, dtype=np.uint8) for shade in (20, 120, 220)]
    assert write_film(tmp_path / "x.mp4", iter(shades), 12.5) == 3
    with av.open(io.BytesIO((tmp_path / "x.mp4").read_bytes())) as container:
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.08, 0.16])
    for frame, shade in zip(frames, shades, strict=True):
        np.testing.assert_allclose(frame.to_ndarray(format="rgb24").astype(int), shade, atol=6)


def test_a_film_that_is_interrupted_leaves_nothing(maze: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(self: Painter, moment: Moment) -> Any:
        if moment.step == 2:
            raise KeyboardInterrupt
        return np.zeros((4, 4, 3), dtype=np.uint8)

    monkeypatch.setattr(Painter, "paint", impatient)
    assert main(["watch", str(maze), "--video", str(tmp_path / "x.gif")]) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--video x.avi", "--video x.avi must end in .mp4 or .gif"),
        ("--video none/x.gif", "--video none/x.gif lies in a folder that does not exist: make it first"),
        ("--video there.gif", "--video there.gif exists already, and nothing is overwritten: give another file"),
        ("--video x.gif --fps 60", "--fps 60 is more than a GIF can show: give --fps 50 or less, or a file.mp4"),
        ("--video x.mp4", "--video x.mp4 needs PyAV, which is not installed: pip install 's7rl[video]', or give a"),
        ("--fps 0", "--fps 0 must be from 0.1 to 1000"),
        ("--episodes 0", "--episodes 0 must be at least 1"),
        ("--max-steps 0", "--max-steps 0 must be at least 1"),
        ("--seed -1", "--seed -1 must not be negative"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    words: str,
    line: str,
    maze: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "av", None)  # what makes an import fail
    (tmp_path / "there.gif").touch()
    assert main(["watch", str(maze), *words.split()]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"s7rl watch: {line}")
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["there.gif"]


def test_of_many_actions_the_likeliest_are_told_and_always_the_one_that_was_taken() -> None:
    probabilities = np.array([0.0, *np.arange(1, 11) / 55])
    taken = np.arange(11) == 0
    choice = Probabilities(labels=tuple(map(str, range(11))), probabilities=probabilities, taken=taken)
    line = moment_as_text(moment(choice), scene=False)
    assert line.endswith("[0: 0.00]  4: 0.07  5: 0.09  6: 0.11  7: 0.13  8: 0.15  9: 0.16  10: 0.18  ...")
    drawn = moment_as_text(moment(choice, scene="A..\n"), scene=True)
    assert drawn.startswith("A..\nepisode 1  step    0")
