"""Wrappers by name.

Mutations tried, each of which fails a test here: the order of wrapping reversed; a name looked up without its case;
``eval`` for ``literal_eval``; a required argument not asked for; the first wrapper applied before the second is read.
"""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from s7rl.envs import make_batched
from s7rl.envs.wrappers.by_name import WRAPPERS, has_vector_wrappers, parse_wrapper, wrap, wrap_vector
from tests.envs.wrappers.babbler import Babbler, babblers


@pytest.mark.parametrize(
    ("text", "name", "kwargs"),
    [
        ("PositionOnly", "PositionOnly", {}),
        (" PositionOnly() ", "PositionOnly", {}),
        ("Flicker(probability=0.5)", "Flicker", {"probability": 0.5}),
        ("Flicker( probability = 5e-1, )", "Flicker", {"probability": 0.5}),
        ("MaskObservation(keep=['a', \"b\"])", "MaskObservation", {"keep": ["a", "b"]}),
        ("NoisyObservation(standard_deviation=(0.1, -2))", "NoisyObservation", {"standard_deviation": (0.1, -2)}),
        ("DelayedReward(steps=None)", "DelayedReward", {"steps": None}),
        ("gymnasium.wrappers:TimeAwareObservation", "gymnasium.wrappers:TimeAwareObservation", {}),
        ("gymnasium.wrappers:TimeLimit(max_episode_steps=7)", "gymnasium.wrappers:TimeLimit", {"max_episode_steps": 7}),
        ("PreviousActionReward(action=True, start=False)", "PreviousActionReward", {"action": True, "start": False}),
    ],
)
def test_a_wrapper_is_read_from_text(text: str, name: str, kwargs: dict[str, object]) -> None:
    assert parse_wrapper(text) == (name, kwargs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Flciker()", "unknown wrapper 'Flciker': did you mean 'Flicker'?"),
        ("flicker", "unknown wrapper 'flicker': did you mean 'Flicker'?"),
        ("Zzz", "unknown wrapper 'Zzz': choose one of: MaskObservation, PositionOnly, VelocityOnly, Flicker, "),
        ("Flicker(probability_=0.5)", "Flicker has no argument 'probability_': did you mean 'probability'?"),
        ("Flicker(zzz=0.5)", "Flicker has no argument 'zzz': choose one of: probability."),
        ("PositionOnly(zzz=0.5)", "PositionOnly has no argument 'zzz': it takes none."),
        ("Flicker(env=1)", "Flicker has no argument 'env': choose one of: probability."),
        ("Flicker(0.5)", "'Flicker(0.5)' has an argument without a name: write Flicker(probability=0.5)."),
        ("Flicker(**{'probability': 1})", "has an argument without a name: write Flicker(probability=0.5)."),
        (
            "NoisyObservation",
            "NoisyObservation needs the argument 'standard_deviation': write NoisyObservation(standard_",
        ),
        (
            "Flicker(probability=half)",
            "probability of Flicker is half, which is no number, text in quotes, list, True, ",
        ),
        ("Flicker(probability=open('x'))", "probability of Flicker is open('x'), which is no number"),
        ("Flicker(probability=1/2)", "probability of Flicker is 1 / 2, which is no number"),
        ("Flicker(probability=0.5", "wrapper 'Flicker(probability=0.5' cannot be read: write a name and keyword"),
        ("Flicker(probability=1, probability=2)", "has the argument 'probability' twice: write it once."),
        ("no_such.module:Flicker", "wrapper 'no_such.module:Flicker' cannot be imported (No module named 'no_such')"),
        ("os:system", "wrapper 'os:system' is no gymnasium.Wrapper of os"),
        ("gymnasium.wrappers:TimeLimit(steps=3)", "gymnasium.wrappers:TimeLimit has no argument 'steps'"),
        ("s7rl.Flicker()", "wrapper 's7rl.Flicker()' cannot be read"),
        ("", "wrapper '' cannot be read"),
        ("\0", "cannot be read"),
        ("Flicker; import os", "cannot be read"),
        ("(" * 1000, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line_that_says_what_to_do(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        parse_wrapper(text)
    assert message in str(caught.value)


def test_the_first_wrapper_is_the_innermost() -> None:
    texts = ["DelayedReward(steps=2)", "PreviousActionReward()"]
    assert str(wrap(Babbler(), texts)) == "<PreviousActionReward<DelayedReward<Babbler instance>>>"
    envs = wrap_vector(babblers(2, "box", "discrete"), texts)
    assert str(envs).startswith("<PreviousActionRewardVector, <DelayedRewardVector, SyncVectorEnv")
    env = Babbler()
    assert wrap(env, []) is env
    ours_and_theirs = ["FlattenObservation", "gymnasium.wrappers:OrderEnforcing"]
    assert str(wrap(env, ours_and_theirs)) == "<OrderEnforcing<FlattenObservation<Babbler instance>>>"


def test_all_texts_are_read_before_anything_is_wrapped() -> None:
    # PositionOnly would refuse a Babbler.
    with pytest.raises(ValueError, match="unknown wrapper 'Nothing'"):
        wrap(Babbler(), ["PositionOnly", "Nothing"])


def test_one_knows_which_wrappers_have_a_vector_version() -> None:
    having = {name for name in WRAPPERS if WRAPPERS[name].vector is not None}
    assert having == set(WRAPPERS) - {"TimeoutAsTruncation", "FlattenNested", "FlattenObservation"}
    assert has_vector_wrappers(["Flicker", "DelayedReward(steps=3)"])
    assert has_vector_wrappers([])
    assert not has_vector_wrappers(["Flicker", "TimeoutAsTruncation(max_episode_steps=9)"])
    envs = make_batched("s7rl/TMazePassive-v0", 2)
    with pytest.raises(
        ValueError, match=r"^FlattenNested has no version for vector environments: wrap single ones, or"
    ):
        wrap_vector(envs, ["FlattenNested"])


def test_a_vector_version_takes_the_arguments_of_the_single_one() -> None:
    for name, versions in WRAPPERS.items():
        if versions.vector is None:
            continue
        single, vector = (
            [(p.name, p.default) for p in inspect.signature(version).parameters.values()][1:]
            for version in (versions.single, versions.vector)
        )
        assert single == vector, name


def test_arguments_of_wrong_types_are_refused_in_one_line_each() -> None:
    # In a process of its own: here beartype would refuse them first, in many lines.
    code = """
import gymnasium as gym
from s7rl.envs.wrappers.by_name import wrap
for text in (
    "Flicker(probability='x')",
    "Flicker(probability=True)",
    "NoisyObservation(standard_deviation='x')",
    "NoisyObservation(standard_deviation=[[1], 2])",
    "MaskObservation(keep='cart_position')",
    "MaskObservation(keep=1)",
    "DelayedReward(steps=1.5)",
    "PreviousActionReward(action=1)",
    "TimeoutAsTruncation(max_episode_steps=True)",
):
    try:
        wrap(gym.make("CartPole-v1"), [text])
    except TypeError as error:
        print(error)
try:
    wrap(gym.make("CartPole-v1"), "Flicker")
except TypeError as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.splitlines() == [
        "probability is 'x', but it is the chance that an observation vanishes: pass a number from 0 to 1.",
        "probability is True, but it is the chance that an observation vanishes: pass a number from 0 to 1.",
        "standard_deviation ('x') is neither a number nor a sequence of numbers; pass one for all entries, or one each "
        "in the shape (4,).",
        "standard_deviation ([[1], 2]) is neither a number nor a sequence of numbers; pass one for all entries, or one "
        "each in the shape (4,).",
        "keep ('cart_position') is not a list; pass a list of indices or names.",
        "keep (1) is not a list; pass a list of indices or names.",
        "steps (1.5) must be an integer; pass 1 or more.",
        "action is 1, but it is yes or no: pass True or False.",
        "max_episode_steps (True) must be an integer; pass 1 or more.",
        "wrappers ('Flicker') is a text; pass a list of them, ['Flicker'].",
    ]
