"""POPGym: 16 small games in three difficulties (Morad et al. 2023, "Benchmarking Partially Observable RL", ICLR).

What POPGym 1.0 leaves to its user is done here.  Games that cannot be played without knowing what one did last
(``obs_requires_prev_action``) get the previous action and a flag for the first step added to their observation, which
is then one vector; the Tuple observations of Autoencode are flattened by ``make_env``.  POPGym's own wrappers for this
refuse what ``gymnasium.make`` returns.

Quirks that are POPGym's own and are left as they are: Autoencode shows its last card with the flag "play" already
set; RepeatFirst promises an indicator of the first card and has none; a Labyrinth lasts 1023 steps, not 1024, and
says itself that its mazes can be solved without memory.  Some games end by termination at a fixed length, others by
truncation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from s7rl.envs.suites.suite import Facts, Suite

DIFFICULTIES = ("Easy", "Medium", "Hard")
SUITS = 4
CARDS_PER_DECK = 52


@dataclass(frozen=True)
class _Game:
    """One game; tuples hold Easy, Medium and Hard."""

    summary: str
    lengths: tuple[int, int, int]
    """Steps of the longest possible episode."""
    random: tuple[float, float, float]
    """Mean return of uniformly random actions."""
    random_error: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Its standard error over 200 episodes; 0 where the mean is exact."""
    decks: tuple[int, int, int] | None = None


_NOISY_CARTPOLE = ((0.1103, 0.1103, 0.1103), (0.0039, 0.0039, 0.0039))
_NOISY_PENDULUM = ((0.241, 0.241, 0.241), (0.013, 0.013, 0.013))
_CARTPOLE = ((0.1126, 0.0563, 0.0375), (0.0045, 0.0022, 0.0015))

_GAMES: Mapping[str, _Game] = {
    "Autoencode": _Game(
        "watch a deck of cards, then name their suits in reverse order",
        (103, 207, 311),
        (-0.5, -0.5, -0.5),
        decks=(1, 2, 3),
    ),
    "Battleship": _Game(
        "sink hidden ships: a shot tells hit or miss, and a place shot at twice costs",
        (64, 100, 144),
        (-0.4662, -0.4235, -0.3907),
        (0.0108, 0.0096, 0.0108),
    ),
    "Concentration": _Game(
        "turn over cards two at a time and find the pairs",
        (104, 208, 104),
        (-0.1761, -0.1846, -0.8371),
        (0.0074, 0.0051, 0.0057),
    ),
    "CountRecall": _Game(
        "say how often the asked value has been dealt so far",
        (51, 103, 207),
        (-0.9343, -0.9258, -0.8793),
        (0.0034, 0.0027, 0.0023),
    ),
    "HigherLower": _Game(
        "guess whether the next card is higher or lower; counting cards helps",
        (51, 103, 155),
        (0.0, 0.0, 0.0),
        decks=(1, 2, 3),
    ),
    "LabyrinthEscape": _Game(
        "find the exit of a maze from a view of the neighbouring cells",
        (1023, 1023, 1023),
        (-0.352, -0.8119, -0.964),
        (0.0539, 0.034, 0.0142),
    ),
    "LabyrinthExplore": _Game(
        "visit every cell of a maze",
        (1023, 1023, 1023),
        (-0.3907, -0.6182, -0.7358),
        (0.0125, 0.009, 0.0066),
    ),
    "MineSweeper": _Game(
        "uncover a field without hitting a mine, one cell's number at a time",
        (14, 30, 54),
        (-0.2377, -0.3858, -0.4328),
        (0.0226, 0.0106, 0.0058),
    ),
    "MultiarmedBandit": _Game(
        "find the best of 10, 20 or 30 arms within an episode",
        (200, 400, 600),
        (-0.0143, 0.0079, -0.0053),
        (0.0137, 0.0096, 0.0081),
    ),
    "NoisyPositionOnlyCartPole": _Game("balance a pole from noisy positions", (200, 200, 200), *_NOISY_CARTPOLE),
    "NoisyPositionOnlyPendulum": _Game("swing up a pendulum from noisy positions", (200, 200, 200), *_NOISY_PENDULUM),
    "PositionOnlyCartPole": _Game("balance a pole from positions alone", (200, 400, 600), *_CARTPOLE),
    "PositionOnlyPendulum": _Game(
        "swing up a pendulum from positions alone",
        (200, 150, 100),
        (0.2461, 0.2454, 0.2419),
        (0.0129, 0.0129, 0.014),
    ),
    "RepeatFirst": _Game(
        "name the suit of the first card at every step",
        (51, 415, 831),
        (-0.5, -0.5, -0.5),
        decks=(1, 8, 16),
    ),
    "RepeatPrevious": _Game(
        "name the suit of the card shown 3, 31 or 63 steps ago, at every step",
        (51, 103, 155),
        (-0.5, -0.5, -0.5),
        decks=(1, 2, 3),
    ),
    # POPGym spells this one with a small p.
    "VelocityOnlyCartpole": _Game("balance a pole from velocities alone", (200, 400, 600), *_CARTPOLE),
}
_REPEAT_PREVIOUS_K = (4, 32, 64)


def ids() -> tuple[str, ...]:
    """Return all 48 ids."""
    return tuple(f"popgym-{name}{level}-v0" for name in _GAMES for level in DIFFICULTIES)


def adapt(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Add the previous action to the observation where the game says that it needs it."""
    if not getattr(env.unwrapped, "obs_requires_prev_action", False):
        return env
    from s7rl.envs.wrappers.previous_action import PreviousActionReward

    return PreviousActionReward(env, reward=False)


def describe(env_id: str, kwargs: Mapping[str, Any]) -> Facts | None:
    """Return what is known about a POPGym id; the ids have no keyword arguments.

    ``optimal_return`` is 1 where an oracle reaches it, and None elsewhere.  ``memoryless_return`` follows from
    counting cards, of N in the deck and N/4 of each suit, for policies that see the current observation only:

    * RepeatFirst, N - 1 steps: naming the current suit is right at the first step and, from the second on, whenever
      the first card has it: (1 + (N - 2) (2 (N/4 - 1)/(N - 1) - 1)) / (N - 1).  Naming another one is worse.
    * RepeatPrevious: naming any suit but the current one, which is the likeliest: N / (2 (N - 1)) - 1.
    * Autoencode: the last card is still shown at the first answer and is right; all others are asked under one and the
      same observation, (play, suit 0), whose best answer is 0: N/4 + 3/4 right answers of N, hence -1/2 + 3/(2 N).
    * HigherLower: "higher" below the middle, else "lower"; a tie gives 0: 84/169.
    """
    name, level = _split(env_id)
    if name is None:
        return None
    game = _GAMES[name]
    length = game.lengths[level]
    memory_span = optimal = memoryless = None
    if name in ("RepeatFirst", "RepeatPrevious", "Autoencode", "CountRecall"):
        memory_span, optimal = length - 1, 1.0
        if name == "RepeatPrevious":
            memory_span = _REPEAT_PREVIOUS_K[level] - 1
    if game.decks is not None:
        cards = CARDS_PER_DECK * game.decks[level]
        same = (cards / SUITS - 1) / (cards - 1)
        memoryless = {
            "RepeatPrevious": cards / (2 * (cards - 1)) - 1,
            "RepeatFirst": (1 + (cards - 2) * (2 * same - 1)) / (cards - 1),
            "Autoencode": -1 / 2 + 3 / (2 * cards),
            "HigherLower": 84 / 169,
        }[name]
    return Facts(
        summary=game.summary,
        episode_length=length,
        memory_span=memory_span,
        optimal_return=optimal,
        memoryless_return=memoryless,
        random_return=game.random[level],
        steps=2_000_000,
    )


def _split(env_id: str) -> tuple[str | None, int]:
    for level, difficulty in enumerate(DIFFICULTIES):
        name = env_id.removeprefix("popgym-").removesuffix(f"{difficulty}-v0")
        if env_id == f"popgym-{name}{difficulty}-v0" and name in _GAMES:
            return name, level
    return None, 0


SUITE = Suite(
    name="popgym",
    summary="POPGym: 48 games of memory",
    prefixes=("popgym-",),
    packages=("popgym", "mazelib"),
    install="'s7rl[popgym]'",
    make={"disable_env_checker": True},  # it complains of infos that share an array in two games, harmlessly
    adapt=adapt,
    describe=describe,
    featured=ids(),
)
