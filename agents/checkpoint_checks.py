"""What the parts of a checkpoint must be before anything is made of them: the file may come from anybody.

A file can make the reader hold no more than a few times its own size in memory, and 500 MB besides: it is not
compressed, a network is built only if the file holds the weights for it, and what is built of a few words has limits.
"""

import io
import json
import math
import zipfile
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from s7rl.checks import FLAG, Rule, is_number, number, whole_number

LARGEST_SPACES = 2**26
"""Bytes, at most, of what the spaces of a file hold, as of ten frames of 1920x1080x3: their bounds take 280 MB."""
LARGEST_TABLES = 2**25
"""Numbers, at most, in the tables and the state of a network: to build a "gtrxl" of so many takes 160 MB."""
_LIMIT = Rule(
    meaning="it is where values are cut off, infinity for nowhere",
    hint="pass a number from 0 on",
    of_kind=is_number,
    in_range=lambda value: value >= 0,
)
COUNTERS: Mapping[str, Rule] = {
    "num_timesteps": whole_number("it counts steps of the environments", least=0),
    "_n_updates": whole_number("it counts passes through rollouts", least=0),
    "_episode_num": whole_number("it counts episodes", least=0),
    # Not only whole numbers: learn(1e6) is in many scripts.
    "_total_timesteps": number("it is how many environment steps to train for", least=0.0),
    "_current_progress_remaining": number("it is the share of the training that is left"),
}
"""Attributes of a model that say how far it has been trained."""
NORMALIZATION: Mapping[str, Rule] = {
    "norm_obs": FLAG,
    "norm_obs_keys": Rule(
        meaning="it names entries of a Dict observation",
        hint="pass a list of strings",
        of_kind=lambda value: isinstance(value, list) and all(isinstance(key, str) for key in value),
    ).or_none(),
    "norm_reward": FLAG,
    "clip_obs": _LIMIT,
    "clip_reward": _LIMIT,
    "gamma": number("it discounts a reward per step", least=0.0),
    "epsilon": number("it is added to variances", least=0.0),
}
"""Arguments of a ``VecNormalize``."""


def read_members(content: bytes, names: Collection[str]) -> dict[str, bytes]:
    """The members of a zip that have these names, as far as it has them.

    Raises:
        ValueError: if one is compressed.
        zipfile.BadZipFile: if it is no zip, or damaged.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # By name, not by entry: a file may list one member thousands of times, and all would be read.
        found = [name for name in names if name in archive.namelist()]
        for name in found:
            if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"its {name} is compressed.")
        return {name: archive.read(name) for name in found}


def parse_json(content: bytes) -> Any:
    """JSON in which every number is one.

    Raises:
        ValueError: if it is no such JSON.
    """
    return json.loads(content, parse_constant=_no_nan)


def _no_nan(constant: str) -> float:
    if constant == "NaN":
        raise ValueError("it holds a NaN.")
    return float(constant)


def check_space_size(space: Any) -> None:
    """Refuse spaces, still as JSON, with bounds larger than those of observations that anybody learns from.

    Raises:
        ValueError: if they hold too many numbers.
    """
    size, left = 0, [space]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            shape = item.get("shape")
            if isinstance(shape, list):
                if not all(type(length) is int and length >= 0 for length in shape):
                    raise ValueError(f"the shape of a space is {shape}.")
                size += math.prod(shape) * _bytes_of(item.get("dtype"))
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
    if size > LARGEST_SPACES:
        raise ValueError(
            f"spaces of {size:,} bytes are too large, {LARGEST_SPACES:,} are the most: pass "
            "custom_objects={'observation_space': ..., 'action_space': ...} if they are right."
        )


def _bytes_of(dtype: Any) -> int:
    try:
        return np.dtype(dtype).itemsize if isinstance(dtype, str) else 8
    except TypeError:
        return 8  # none, which is said where the space is made


def check_weights(
    make_policy: Callable[[], nn.Module], weights: Mapping[str, Tensor], depths: Mapping[str, int]
) -> None:
    """Refuse weights that are not those of the policy, before memory is taken for it.

    Args:
        make_policy: makes the policy; it is called where tensors have shapes and no content.
        weights: those of the file.
        depths: how many layers or blocks there are, by the setting that says so: each costs time, even without content.

    Raises:
        ValueError: if names, shapes or types are others, or the policy has tables that are too large.
    """
    for name, depth in depths.items():
        if depth > len(weights):
            raise ValueError(f"{name} asks for {depth} of them, but there are weights for fewer.")
    # Their check of arguments looks into tensors, and these have no content.
    validates = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        with torch.device("meta"):
            policy = make_policy()
    finally:
        torch.distributions.Distribution.set_default_validate_args(validates)
    check_tensors(policy.state_dict(), weights)
    tables = sum(table.numel() for table in policy.buffers()) + int(getattr(policy, "state_size", 0))
    if tables > LARGEST_TABLES:
        raise ValueError(
            f"tables and state of {tables:,} numbers are too large, {LARGEST_TABLES:,} are the most: pass "
            "custom_objects={'policy_kwargs': ...} if they are right."
        )


def check_tensors(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse tensors of other names, shapes or types than wanted.

    Raises:
        ValueError: if there are any; the text names one.
    """
    for name in wanted.keys() ^ found.keys():
        raise ValueError(f"{name} is {'missing' if name in wanted else 'one tensor too many'}.")
    for name, tensor in wanted.items():
        there = found[name]
        if (there.shape, there.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"{name} is {there.dtype} of shape {tuple(there.shape)}, not {tensor.dtype} of {tuple(tensor.shape)}."
            )


def check_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Refuse an optimiser's state that does not fit its parameters.

    Raises:
        ValueError: if groups, options or moments do not fit; the text names which.
    """
    groups = state["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(optimizer.param_groups):
        raise ValueError(f"its optimiser has not the {len(optimizer.param_groups)} groups of this one.")
    numbers = iter(range(sum(len(group["params"]) for group in optimizer.param_groups)))
    for group, there in zip(optimizer.param_groups, groups, strict=True):
        if group.keys() - {"initial_lr"} != there.keys() - {"initial_lr"}:
            raise ValueError(f"a group of its optimiser has the options {sorted(there)}.")
        if there["params"] != [next(numbers) for _ in group["params"]]:
            raise ValueError("a group of its optimiser has other parameters.")
        for name, value in group.items():
            if name != "params" and not _alike(value, there[name]):
                raise ValueError(f"the optimiser's {name} is {there[name]!r}.")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, moments in state["state"].items():
        if not 0 <= index < len(parameters):
            raise ValueError(f"its optimiser has moments of parameter {index}, which is not there.")
        for name, moment in moments.items():
            if moment.shape not in (torch.Size([]), parameters[index].shape) or not moment.is_floating_point():
                raise ValueError(f"the optimiser's {name} of parameter {index} has shape {tuple(moment.shape)}.")
            if not moment.isfinite().all():
                raise ValueError(f"the optimiser's {name} of parameter {index} is not finite.")
    names = {frozenset(moments) for moments in state["state"].values()}
    if len(names) > 1:
        raise ValueError(f"its optimiser has moments of different names: {sorted(frozenset.union(*names))}.")


def _alike(ours: Any, theirs: Any) -> bool:
    """Whether an option could be another value of the same option."""
    if isinstance(ours, tuple):
        return isinstance(theirs, tuple) and len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    if type(ours) in (int, float) and type(theirs) in (int, float):
        return math.isfinite(theirs) and theirs >= 0
    # An option such as foreach is None, True or False.
    return isinstance(ours, bool | None) and isinstance(theirs, bool | None)


def check_statistics(tensors: Mapping[str, Tensor], *, of_observations: bool) -> None:
    """Refuse means, variances and counts, by names that end so, that cannot be any.

    Args:
        tensors: of a checkpoint.
        of_observations: whether there are some of observations, beside those of returns.

    Raises:
        ValueError: if one is missing, of another shape or type than its like, or not finite, or a variance or a count
            is negative; the text names it.
    """
    names = {"ret_rms"} | {name.rpartition(".")[0] for name in tensors}
    if (len(names) > 1) != of_observations:
        raise ValueError(f"its running statistics are {', '.join(sorted(names))} alone.")
    wanted: dict[str, Tensor] = {}
    for name in names:
        mean, number = tensors.get(f"{name}.mean", torch.zeros(())).double(), torch.zeros((), dtype=torch.float64)
        of_one = number if name == "ret_rms" else mean
        wanted |= {f"{name}.mean": of_one, f"{name}.var": of_one, f"{name}.count": number}
    check_tensors(wanted, tensors)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all() or (not name.endswith(".mean") and (tensor < 0).any()):
            raise ValueError(f"its running statistics {name} are no such thing.")
