"""`s7rl watch`: a trained agent at play, in a window, in the terminal or as a film."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from rich.console import Console
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from s7rl.agents.threads import torch_threads
from s7rl.envs import make_env
from s7rl.experiments.agent_config import WatchConfig
from s7rl.experiments.building import as_trained, usable
from s7rl.experiments.errors import UsageError
from s7rl.experiments.failures import environment_failures
from s7rl.experiments.run_folder import check_can_be_written
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.trained_agent import open_agent
from s7rl.experiments.watching.film import check_film, write_film
from s7rl.experiments.watching.moments import Filmed, Moment, moments
from s7rl.experiments.watching.pictures import Painter
from s7rl.experiments.watching.text import moment_as_text
from s7rl.experiments.wording import plural, say

DEFAULT_FPS = 10
"""Steps shown per second where the environment does not say."""
DEFAULT_MAX_STEPS = 1_000
"""Steps of an episode, where the user does not say."""


def watch(config: WatchConfig, console: Console) -> int:
    """Plays some episodes, and shows them.

    Args:
        config: the request.
        console: where moments are told, or what came of the episodes.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: the run folder or the request cannot be used.
        TrainingError: the environment failed, or had no screen to be shown on.
    """
    _check(config)
    if config.video is not None:
        # Environments drawn with pygame need no screen for a film, and SDL would ignore SIGTERM.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
    remedy = "nothing was written" if config.video else "where there is no screen, --video FILE.gif needs none"
    agent = open_agent(config)
    settings, model = agent.settings, agent.model
    with environment_failures(lambda: remedy):
        with usable(agent.checkpoint):
            modes, own_fps = _rendering(settings)
        mode = _mode(modes, film=config.video is not None)
        fps = own_fps if config.fps is None else config.fps
        if config.video is not None:
            check_film(config.video, fps)
        with warnings.catch_warnings(), usable(agent.checkpoint):
            # What Gymnasium says where it opens the window for an environment that has pictures only.
            warnings.filterwarnings("ignore", message=".*HumanRendering wrapper")
            filmed = Filmed(make_env(settings.env_id, settings.env_kwargs, mode, settings.wrappers))
            plain = DummyVecEnv([lambda: Monitor(filmed)])
            plain.seed(agent.seed)
            played = as_trained(model, agent.checkpoint, plain)
        with closing(played) as vec_env, torch_threads(model.acting_threads):
            most = DEFAULT_MAX_STEPS if config.max_steps is None else config.max_steps
            chosen = config.actions == "deterministic"
            shown = moments(model, vec_env, filmed, config.episodes, most, deterministic=chosen)
            if config.video is None:
                _tell(shown, console, fps, window=mode == "human")
            else:
                painter = Painter(filmed.observation_space, f"{settings.task_name}, agent {settings.agent}")
                pictures = (painter.paint(_noted(moment, console)) for moment in shown)
                number = write_film(Path(config.video), pictures, fps)
                say(console, f"{config.video}: {plural(number, 'picture')}, {number / fps:.1f} s")
    return 0


def _check(config: WatchConfig) -> None:
    if config.fps is not None and not 0.1 <= config.fps <= 1000:
        raise UsageError(f"--fps {config.fps:g} must be from 0.1 to 1000")
    check_can_be_written("--video", config.video)


def _rendering(settings: RunSettings) -> tuple[list[str], float]:
    """The render modes that the environment has, and the steps per second that it wants to be shown with."""
    env = make_env(settings.env_id, settings.env_kwargs, wrappers=settings.wrappers)
    try:
        return list(env.metadata.get("render_modes") or []), float(env.metadata.get("render_fps") or DEFAULT_FPS)
    finally:
        env.close()


def _mode(modes: list[str], *, film: bool) -> str | None:
    """What to render: pictures or else drawings for a film; a window or else drawings for the user."""
    picture = "rgb_array" if "rgb_array" in modes else None
    # Gymnasium opens the window itself where an environment has pictures only.
    window = "human" if "human" in modes or picture else None
    return (picture if film else window) or ("ansi" if "ansi" in modes else None)


def _noted(moment: Moment, console: Console) -> Moment:
    """The moment, of which the end of an episode is told."""
    if moment.choice is None:
        say(console, moment_as_text(moment, scene=False))
    return moment


def _tell(shown: Iterator[Moment], console: Console, fps: float, *, window: bool) -> None:
    """Tells every moment as it comes, as slowly as is asked where somebody looks on."""
    wait = 1 / fps if window or console.is_terminal else 0.0
    due = time.monotonic()
    for moment in shown:
        due = max(due + wait, time.monotonic())
        say(console, moment_as_text(moment, scene=not window))
        time.sleep(max(0.0, due - time.monotonic()))
