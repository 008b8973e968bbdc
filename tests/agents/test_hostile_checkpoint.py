"""Checkpoints that somebody made by hand: one line, no code of theirs, no more memory than the file is worth.

Mutations that were seen to fail: each of the checks of ``checkpoint_checks`` made to do nothing; modules imported
instead of looked up; compressed members read; spaces of 2**26 numbers, or tables of 2**26, built.
"""

from __future__ import annotations

import io
import json
import math
import re
import resource
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from s7rl.agents import RecurrentPPO, load_normalization, make_vec

Members = dict[str, bytes]
MEGABYTES = 300
"""What reading a file of a few kB may take, at most."""


@pytest.fixture(scope="module")
def members() -> Members:
    """The parts of an agent with a layer of each kind, trained in an environment that is normalised."""
    env = VecNormalize(make_vec("s7rl/CartPolePositionOnly-v0", 2))
    options: dict[str, Any] = {"d_model": 8, "d_state": 6, "net_arch": [4], "optimizer_kwargs": {"weight_decay": 0.1}}
    model = RecurrentPPO("MlpPolicy", env, n_steps=8, policy_kwargs=options, seed=0).learn(32)
    file = io.BytesIO()
    model.save(file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: Members, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    file.seek(0)
    return file


def with_config(members: Members, change: Callable[[Any], Any]) -> io.BytesIO:
    config = json.loads(members["config.json"])
    change(config)
    return packed({**members, "config.json": json.dumps(config).encode()})


def with_tensors(members: Members, name: str, change: Callable[[dict[str, Tensor]], Any]) -> io.BytesIO:
    tensors = safetensors.torch.load(members[name])
    change(tensors)
    return packed({**members, name: safetensors.torch.save(tensors)})


def refused(file: io.BytesIO, reason: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        ValueError, match=rf"^[^\n]* is not a checkpoint that this s7rl can read: [^\n]*{reason}[^\n]*$"
    ):
        RecurrentPPO.load(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024


def kwargs(config: Any) -> Any:
    return config["settings"]["policy_kwargs"]["dict"]


def box(config: Any) -> Any:
    return config["observation_space"]


def groups(config: Any) -> Any:
    return config["optimizer"]["param_groups"]


CONFIGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a width beyond memory": (lambda c: kwargs(c).update(d_model=10**9), "shape"),
    "a memory beyond memory": (lambda c: kwargs(c).update(d_state=10**9), "shape"),
    "blocks without end": (lambda c: kwargs(c).update(n_blocks=10**9), "n_blocks asks for 1000000000"),
    "layers beyond memory": (lambda c: kwargs(c).update(net_arch=[10**6, 10**6]), "missing|shape|many"),
    "layers without end": (lambda c: kwargs(c).update(net_arch=[1] * 10**5), "net_arch asks for 100000"),
    "layers without end for the critic": (
        lambda c: kwargs(c).update(net_arch={"dict": {"pi": [4], "vf": [1] * 10**5}}),
        "net_arch asks for 100001",
    ),
    "a window beyond memory": (lambda c: kwargs(c).update(core="stack", core_kwargs={"dict": {"n_frames": 10**9}}), ""),
    "a space beyond memory": (lambda c: box(c).update(shape=[10**6, 10**6]), "too large"),
    "bounds of 1 GB": (lambda c: box(c).update(shape=[2**26], dtype="float64", low="0", high="1"), "too large"),
    "the largest bounds": (lambda c: box(c).update(shape=[2**23], dtype="float64", low="0", high="1"), "shape"),
    "a space of negative size": (lambda c: box(c).update(shape=[-2]), r"shape of a space is \[-2\]"),
    "a space of another size": (lambda c: box(c).update(shape=[3]), "shape"),
    "steps that are a text": (lambda c: c["settings"].update(n_steps="8"), "n_steps is '8'"),
    "steps that are true": (lambda c: c["settings"].update(n_steps=True), "n_steps is True"),
    "epochs with a fraction": (lambda c: c["settings"].update(n_epochs=1.5), r"n_epochs is 1\.5"),
    "a discount that is a list": (lambda c: c["settings"].update(gamma=[0.9]), r"gamma is \[0\.9\]"),
    "a discount that is no number": (lambda c: c["settings"].update(gamma=math.nan), "NaN"),
    "arguments that are a list": (lambda c: c["settings"].update(policy_kwargs=[1]), r"policy_kwargs is \[1\]"),
    "an argument that is not there": (lambda c: kwargs(c).update(speed=1), "speed"),
    "an activation of no class": (lambda c: kwargs(c).update(activation_fn="rm"), ""),
    "a seed beyond all": (lambda c: c["settings"].update(seed=10**30), ""),
    "environments below 0": (lambda c: c.update(n_envs=-1), "n_envs is -1"),
    "environments of a text": (lambda c: c.update(n_envs="2"), "n_envs is '2'"),
    "a counter below 0": (lambda c: c["counters"].update(num_timesteps=-5), "num_timesteps is -5"),
    "a counter of a text": (lambda c: c["counters"].update(_n_updates="5"), "_n_updates is '5'"),
    "a counter too many": (lambda c: c["counters"].update(policy=1), "counters"),
    "a group too few": (lambda c: groups(c).pop(), "groups"),
    "a group of other parameters": (lambda c: groups(c)[0]["dict"].update(params=[0]), "other parameters"),
    "an option too many": (lambda c: groups(c)[0]["dict"].update(hook=1), "options"),
    "a step size below 0": (lambda c: groups(c)[0]["dict"].update(lr=-1.0), r"lr is -1\.0"),
    "a step size of a text": (lambda c: groups(c)[0]["dict"].update(lr="1"), "lr is '1'"),
    "decay rates of another number": (lambda c: groups(c)[0]["dict"].update(betas={"tuple": [0.9]}), "betas"),
    "a normalisation of another kind": (lambda c: c["normalization"].update(venv=1), "normalisation"),
    "a clipping of a text": (lambda c: c["normalization"].update(clip_obs="x"), "clip_obs is 'x'"),
    "a policy that is a layer": (
        lambda c: c.update(policy_class={"class": "torch.nn.modules.linear.Linear"}),
        "policy",
    ),
    "a policy of no class": (lambda c: c.update(policy_class=3), "policy"),
    "a function for a class": (lambda c: c.update(policy_class={"class": "torch.nn.modules.linear.init"}), "no part"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_settings_that_make_no_sense_are_refused_in_one_line(members: Members, kind: str) -> None:
    change, reason = CONFIGS[kind]
    file = with_config(members, change)
    if "normalis" in kind or "clipping" in kind:
        with pytest.raises(ValueError, match=rf"^[^\n]*{reason}[^\n]*$"):
            load_normalization(file, make_vec("s7rl/CartPolePositionOnly-v0", 1))
    else:
        refused(file, reason)


TENSORS: dict[str, tuple[str, Callable[[dict[str, Tensor]], Any], str]] = {
    "a weight too few": ("policy", lambda t: t.pop("value_net.bias"), r"value_net\.bias is missing"),
    "a weight too many": ("policy", lambda t: t.update(x=torch.zeros(1)), "x is one tensor too many"),
    "a weight of another shape": ("policy", lambda t: t.update({"value_net.bias": torch.zeros(2)}), "of shape"),
    "a weight of another type": (
        "policy",
        lambda t: t.update({"value_net.bias": torch.zeros(1, dtype=torch.int8)}),
        "int8",
    ),
    "a moment of another shape": ("optimizer", lambda t: t.update({"0.exp_avg": torch.zeros(7)}), r"shape \(7,\)"),
    "a moment of another type": ("optimizer", lambda t: t.update({"0.exp_avg": t["0.exp_avg"].int()}), "exp_avg"),
    "a moment of nothing": ("optimizer", lambda t: t.update({"999.exp_avg": torch.zeros(1)}), "999"),
    "a moment of another name": (
        "optimizer",
        lambda t: t.update({"0.average": t.pop("0.exp_avg")}),
        r"different names: \['average', 'exp_avg', 'exp_avg_sq', 'step'\]",
    ),
    "a moment too few": ("optimizer", lambda t: t.pop("0.exp_avg"), "different names"),
    "a moment that is infinite": ("optimizer", lambda t: t["0.exp_avg"].fill_(math.inf), "not finite"),
    "a step that is nan": ("optimizer", lambda t: t["0.step"].fill_(math.nan), "not finite"),
    "a moment of no number": ("optimizer", lambda t: t.update({"x.exp_avg": torch.zeros(1)}), ""),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_that_do_not_fit_are_refused_in_one_line(members: Members, kind: str) -> None:
    name, change, reason = TENSORS[kind]
    refused(with_tensors(members, f"{name}.safetensors", change), reason)


def test_tables_and_states_that_no_weights_vouch_for_are_refused() -> None:
    model = RecurrentPPO("MlpPolicy", make_vec("s7rl/TMazePassive-v0", 1), policy_kwargs={"core": "gtrxl"})
    file = io.BytesIO()
    model.save(file)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for window in (10**8, 2**24 // 64):
        file = with_config(members, lambda c, window=window: kwargs(c).update(core_kwargs={"dict": {"window": window}}))  # type: ignore[misc]
        refused(file, "too large")


def test_what_is_too_large_for_a_stranger_s_file_loads_where_the_reader_says_what_it_is(members: Members) -> None:
    file = with_config(members, lambda c: box(c).update(shape=[2**24 + 1]))
    refused(file, r"spaces of 67,108,868 bytes are too large, 67,108,864 are the most: pass custom_objects=")
    file.seek(0)
    space = make_vec("s7rl/CartPolePositionOnly-v0", 1).observation_space
    assert RecurrentPPO.load(file, custom_objects={"observation_space": space}).observation_space == space


@pytest.mark.parametrize(
    ("name", "tensor", "reason"),
    [
        ("obs_rms.mean", torch.zeros(3), r"obs_rms\.var is torch\.float64 of shape \(2,\), not"),
        ("rms.mean", torch.zeros(2), r": rms\.(var|count) is missing"),
        ("obs_rms.var", -torch.ones(2), r"running statistics obs_rms\.var"),
        ("ret_rms.count", torch.tensor(math.inf), r"running statistics ret_rms\.count"),
    ],
)
def test_statistics_that_are_none_are_refused_in_one_line(
    members: Members, name: str, tensor: Tensor, reason: str
) -> None:
    file = with_tensors(members, "normalization.safetensors", lambda tensors: tensors.update({name: tensor.double()}))
    with pytest.raises(ValueError, match=rf"^[^\n]*{reason}[^\n]*$"):
        load_normalization(file, make_vec("s7rl/CartPolePositionOnly-v0", 1))


def test_a_bomb_is_not_unpacked(members: Members) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("config.json", members["config.json"], compress_type=zipfile.ZIP_STORED)
        with archive.open("policy.safetensors", "w") as member:
            for _ in range(8):
                member.write(bytes(2**24))
    file.seek(0)
    tracemalloc.start()
    try:
        refused(file, r"policy\.safetensors is compressed")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_settings_nested_without_end_are_refused(members: Members) -> None:
    refused(packed({**members, "config.json": b"[" * 10**5}), "")


def test_no_module_is_imported_for_a_file_not_even_a_trusted_one(members: Members) -> None:
    # Importing it would start the command line.
    assert "s7rl.__main__" not in sys.modules
    for name in ("s7rl.__main__.main", "torch.nn.modules.nothing.Evil", "stable_baselines3.dqn.nothing.Evil"):
        refused(with_config(members, lambda c, name=name: c.update(policy_class={"class": name})), re.escape(name))  # type: ignore[misc]
    assert "s7rl.__main__" not in sys.modules


def test_rollouts_beyond_memory_take_none_until_somebody_trains(members: Members) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = RecurrentPPO.load(with_config(members, lambda c: c["settings"].update(n_steps=2**31 - 1)))
    assert model.predict(np.zeros(2, dtype=np.float32))[0] in (0, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024


NUMBERS = [-1, 0, 1, 3, 2**31, 2**31 - 1, 10**30, -0.5, 1e308, math.inf, math.nan]
KINDS = [{"tuple": []}, {"dict": {}}, {"class": "torch.nn.modules.linear.Linear"}, {"linear_schedule": [1, 0, 0]}]
VALUES = st.sampled_from([None, True, False, *NUMBERS, "", "8", "x" * 50, [], {}, [1], [[]], *KINDS])


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of nested JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, child in items for place in ((value, key), *places(child))]


@settings(max_examples=100)
@given(data=st.data())
def test_whatever_stands_in_the_settings_it_loads_or_ends_in_one_line(members: Members, data: st.DataObject) -> None:
    config = json.loads(members["config.json"])
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(places(config)))
        if isinstance(container, dict) and data.draw(st.booleans(), label="removed"):
            del container[key]
        else:
            container[key] = deepcopy(data.draw(VALUES))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        RecurrentPPO.load(packed({**members, "config.json": json.dumps(config).encode()}))
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - the file may also load
        assert "is not a checkpoint" in str(error)  # noqa: PT017
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
