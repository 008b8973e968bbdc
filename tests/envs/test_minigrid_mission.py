"""Missions as vectors: against hand-written codes, and every sentence of the grammar told from every other.

Mutations tried: "a" and "the" coded alike; the second object written over the first; the clauses of the second half
written into the first; "then" and "after" exchanged; a gap with one word given a place; gaps in reverse order; the
vector of the first mission kept; BabyAI left to print, and to search full rooms for ever.
"""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Box
from minigrid.minigrid_env import MiniGridEnv

from s7rl.envs import make_env
from s7rl.envs.wrappers.minigrid_mission import ChoiceCode, GrammarCode, find_mission_code

CODE = GrammarCode()
# The words of a clause in the order of its 36 places, from BabyAI's grammar.
VERBS = ["go to", "pick up", "open", "put"]
OBJECT = ["the", "object", "box", "ball", "key", "door", "red", "green", "blue", "purple", "yellow", "grey"]
OBJECT += ["in front of you", "behind you", "on your left", "on your right"]


def names_of(vector: np.ndarray) -> set[str]:
    """Say in words which places of a vector are set."""
    clause = [*VERBS, *(f"1 {word}" for word in OBJECT), *(f"2 {word}" for word in OBJECT)]
    places = ["then", "after", *(f"{half}{number} {word}" for half in "AB" for number in "12" for word in clause)]
    assert vector.shape == (len(places),) == (146,)
    assert set(vector.tolist()) <= {0.0, 1.0}
    return {place for place, entry in zip(places, vector, strict=True) if entry}


@pytest.mark.parametrize(
    ("mission", "said"),
    [
        ("go to the red ball", {"A1 go to", "A1 1 the", "A1 1 red", "A1 1 ball"}),
        ("pick up a key on your left", {"A1 pick up", "A1 1 key", "A1 1 on your left"}),
        (
            "put a grey box next to the door behind you",
            {"A1 put", "A1 1 grey", "A1 1 box", "A1 2 the", "A1 2 door", "A1 2 behind you"},
        ),
        (
            "open the door and go to an object, then pick up the blue object".replace("an object", "a box"),
            {"then", "A1 open", "A1 1 the", "A1 1 door", "A2 go to", "A2 1 box"}
            | {"B1 pick up", "B1 1 the", "B1 1 blue", "B1 1 object"},
        ),
        (
            "go to a box after you put a key next to the blue ball in front of you and open a purple door",
            {"after", "A1 go to", "A1 1 box", "B1 put", "B1 1 key", "B1 2 the", "B1 2 blue", "B1 2 ball"}
            | {"B1 2 in front of you", "B2 open", "B2 1 purple", "B2 1 door"},
        ),
    ],
)
def test_a_sentence_of_babyai_is_what_it_says(mission: str, said: set[str]) -> None:
    assert names_of(CODE.encode(mission)) == said


objects = st.builds(
    lambda article, colour, kind, place: " ".join(filter(None, (article, colour, kind, place))),
    st.sampled_from(["a", "the"]),
    st.sampled_from(["", *OBJECT[6:12]]),
    st.sampled_from(OBJECT[1:6]),
    st.sampled_from(["", *OBJECT[12:]]),
)
clauses = st.one_of(
    st.builds(lambda verb, what: f"{verb} {what}", st.sampled_from(VERBS[:3]), objects),
    st.builds(lambda what, where: f"put {what} next to {where}", objects, objects),
)
halves = st.one_of(clauses, st.builds(lambda left, right: f"{left} and {right}", clauses, clauses))
sentences = st.one_of(
    halves,
    st.builds(lambda left, how, right: left + how + right, halves, st.sampled_from([", then ", " after you "]), halves),
)


@given(sentences, sentences)
def test_different_sentences_have_different_vectors(left: str, right: str) -> None:
    assert (left == right) == np.array_equal(CODE.encode(left), CODE.encode(right))


@pytest.mark.parametrize(
    ("mission", "reason"),
    [
        ("go to the pink ball", "'the pink ball' is no object of it"),
        ("sing", "'sing' is no clause of it"),
        ("put the ball", "'put the ball' is no clause of it"),
        ("go to a ball next to a box", "'go to a ball next to a box' is no clause of it"),
        ("open a door and open a door and open a door", "it has more than two halves of two clauses"),
        ("open a door, then open a door, then open a door", "it has more than two halves of two clauses"),
        ("", "'' is no clause of it"),
    ],
)
def test_a_word_that_the_grammar_lacks_is_an_error_in_one_line(mission: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"is not in BabyAI's language: {reason}") as error:
        CODE.encode(mission)
    assert "\n" not in str(error.value)


def test_the_gaps_of_a_mission_space_are_one_hot_side_by_side() -> None:
    colours, kinds = ["red", "blue"], ["ball", "box", "key"]
    space = MissionSpace(lambda colour, door, kind: f"{colour} {door} {kind}", [colours, ["door"], kinds])
    code = ChoiceCode(space)
    assert code.size == 5
    for (i, colour), (j, kind) in itertools.product(enumerate(colours), enumerate(kinds)):
        expected = np.zeros(5)
        expected[[i, 2 + j]] = 1.0
        np.testing.assert_array_equal(code.encode(f"{colour} door {kind}"), expected)
    with pytest.raises(ValueError, match=r"mission \('red door'\) is not one of the 6 .*'red door ball'; correct its"):
        code.encode("red door")


def test_a_mission_that_never_changes_takes_no_place() -> None:
    assert ChoiceCode(MissionSpace(lambda: "go")).size == 0
    assert make_env("MiniGrid-KeyCorridorS3R1-v0").observation_space.shape == (984 + 6,)
    assert make_env("MiniGrid-ObstructedMaze-Full-v1").observation_space.shape == (984,)


def test_a_space_that_may_say_anything_is_refused() -> None:
    class AnyMission(MissionSpace):  # type: ignore[misc]
        pass

    with pytest.raises(ValueError, match="the mission has the space AnyMission, which may mean any sentence"):
        find_mission_code(AnyMission(lambda: "go"))
    many = [[str(number) for number in range(400)]] * 2
    with pytest.raises(ValueError, match="the mission has 160000 sentences, of which at most 100000 can be listed"):
        find_mission_code(MissionSpace(lambda left, right: f"{left} {right}", many))


@pytest.mark.parametrize("env_id", ["BabyAI-GoToSeqS5R2-v0", "MiniGrid-LockedRoom-v0"])
def test_the_mission_follows_the_view_and_changes_with_the_episode(env_id: str) -> None:
    env = make_env(env_id)
    code = find_mission_code(env.unwrapped.observation_space["mission"])  # type: ignore[index]
    codes = set()
    for seed in range(6):
        observation, _ = env.reset(seed=seed)
        for action in (0, 2, 1):
            expected = code.encode(env.unwrapped.mission)  # type: ignore[attr-defined]
            np.testing.assert_array_equal(observation[984:], expected)
            observation = env.step(action)[0]
        codes.add(observation[984:].tobytes())
    assert len(codes) > 1


def test_babyai_draws_again_without_a_word_on_the_terminal() -> None:
    code = (
        "import s7rl.envs; env = s7rl.envs.make_env('BabyAI-GoToObjMazeS4R2-v0'); [env.reset(seed=s) for s in range(9)]"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (output.stdout, output.stderr) == ("", "")


def test_the_log_has_what_babyai_says(caplog: pytest.LogCaptureFixture) -> None:
    env: gym.Env[Any, Any] = make_env("BabyAI-GoToObjMazeS4R2-v0")
    with caplog.at_level(logging.DEBUG, "s7rl"):
        for seed in range(9):
            env.reset(seed=seed)
    assert any("Sampling rejected: " in message for message in caplog.messages)


def test_a_room_without_a_place_to_start_from_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    env: Any = make_env("BabyAI-SynthS5R2-v0").unwrapped
    env.reset(seed=0)
    room = env.room_grid[0][1]
    left, top = room.top
    for x, y in itertools.product((1, 2, 3), repeat=2):
        env.grid.set(left + x, top + y, Box("red"))
    env.agent_pos = (-1, -1)
    env.grid.set(left + 2, top + 2, None)  # faces boxes only, and MiniGrid would search for ever
    with monkeypatch.context() as patch:
        patch.setattr(MiniGridEnv, "place_agent", lambda *args, **kwargs: pytest.fail("searches for ever"))
        with pytest.raises(RecursionError, match=r"^room \(1, 0\) has no place to start from$"):
            env.place_agent(1, 0)
    env.grid.set(left + 1, top + 1, None)  # faces a wall
    for _ in range(20):
        assert tuple(env.place_agent(1, 0)) == (left + 1, top + 1)
        assert env.grid.get(*env.front_pos).type == "wall"
        env.agent_pos = (-1, -1)
