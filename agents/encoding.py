"""Settings and spaces as JSON, and back, without pickle.

Reading runs none of a file's code: a class is named by its import path, and only classes of torch, Stable-Baselines3
and s7rl are looked up.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

_TRUSTED_PACKAGES = ("torch.nn", "torch.optim", "stable_baselines3", "s7rl")


def encode(value: Any) -> Any:
    """A setting as JSON: numbers, strings, lists, tuples, mappings, classes and SB3's schedules.

    Of what else can be called only the name is kept, for the message of who loads it: training is not lost for it.

    Raises:
        TypeError: for a value of another kind.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.integer | np.floating | np.bool_):
        return value.item()
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {"dict": {str(key): encode(item) for key, item in value.items()}}
    if isinstance(value, type):
        return {"class": f"{value.__module__}.{value.__qualname__}"}
    if isinstance(value, FloatSchedule):
        return encode(value.value_schedule)
    if isinstance(value, ConstantSchedule):
        return _constant(float(value.val))
    if isinstance(value, LinearSchedule):
        return {"linear_schedule": [value.start, value.end, value.end_fraction]}
    if callable(value):
        named = value if hasattr(value, "__qualname__") else type(value)  # not its address, which is each process's own
        return {"function": f"{named.__module__}.{named.__qualname__}"}
    raise TypeError(f"a setting is {value!r} of type {type(value).__name__}, which cannot be saved as JSON.")


def schedule_function(schedule: Any) -> Schedule | None:
    """The function that a schedule is, where :func:`encode` cannot write it down; None where it can."""
    if isinstance(schedule, FloatSchedule):
        return schedule_function(schedule.value_schedule)
    known = isinstance(schedule, ConstantSchedule | LinearSchedule)
    return schedule if callable(schedule) and not known else None


def _constant(value: float) -> Any:
    """A number is a schedule too; but where it may not be 0, a schedule may."""
    return value or {"linear_schedule": [0.0, 0.0, 1.0]}


def decode(data: Any) -> Any:
    """What :func:`encode` made JSON of.

    Raises:
        ValueError: if the data are none of :func:`encode`'s, or name a class that is not trusted.
    """
    if not isinstance(data, dict):
        return [decode(item) for item in data] if isinstance(data, list) else data
    match data:
        case {"tuple": list(items)}:
            return tuple(decode(item) for item in items)
        case {"dict": dict(items)}:
            return {key: decode(item) for key, item in items.items()}
        case {"class": str(path)}:
            return _trusted_class(path)
        case {"linear_schedule": [float() | int() as start, float() | int() as end, float() | int() as fraction]}:
            return LinearSchedule(start, end, fraction)
        case {"function": str(name)}:
            raise ValueError(
                f"it was made with {name}, which is not saved: pass custom_objects={{'policy_kwargs': ...}} with it."
            )
    raise ValueError(f"the setting {data!r} is of no known kind.")


def _trusted_class(path: str) -> type[Any]:
    module, _, name = path.rpartition(".")
    if not any(module == package or module.startswith(f"{package}.") for package in _TRUSTED_PACKAGES):
        raise ValueError(
            f"it names the class {path}, which is not looked up in a file from elsewhere: "
            "pass custom_objects={'policy_kwargs': ...} or {'policy_class': ...} with the class itself."
        )
    # Looked up, not imported: even that would run what the file chose.
    found = getattr(sys.modules.get(module), name, None)
    if found is None:
        raise ValueError(f"it names the class {path}, which is not there.")
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module | torch.optim.Optimizer)):
        raise ValueError(f"it names {path}, which is no part of a network.")
    return found


def encode_space(space: spaces.Space[Any]) -> dict[str, Any]:
    """A Box, Discrete, MultiDiscrete or MultiBinary space, or a Dict of these, as JSON."""
    match space:
        case spaces.Box():
            bounds = {"low": _bound(space.low), "high": _bound(space.high)}
            return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
        case spaces.Discrete():
            return {"kind": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
        case spaces.MultiDiscrete():
            counts = {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
            return {"kind": "MultiDiscrete", **counts, "dtype": str(space.dtype)}
        case spaces.MultiBinary():
            n = space.n
            return {"kind": "MultiBinary", "n": int(n) if isinstance(n, int | np.integer) else [int(k) for k in n]}
        case spaces.Dict():
            # Pairs, since the order of the keys is that of the features.
            return {"kind": "Dict", "spaces": [[key, encode_space(entry)] for key, entry in space.spaces.items()]}
    raise TypeError(
        f"a {type(space).__name__} space cannot be saved: only Box, Discrete, MultiDiscrete, MultiBinary and Dict can."
    )


def decode_space(data: Any) -> spaces.Space[Any]:
    """What :func:`encode_space` made JSON of.

    Raises:
        ValueError: if the data are none of :func:`encode_space`'s.
    """
    match data:
        case {"kind": "Box", "shape": list(shape), "dtype": str(dtype), "low": low, "high": high}:
            kind: Any = np.dtype(dtype).type
            return spaces.Box(_array(low, shape, kind), _array(high, shape, kind), tuple(shape), kind)
        case {"kind": "Discrete", "n": int(n), "start": int(start), "dtype": str(dtype)}:
            return spaces.Discrete(n, start=start, dtype=np.dtype(dtype).type)
        case {"kind": "MultiDiscrete", "nvec": list(nvec), "start": list(start), "dtype": str(dtype)}:
            return spaces.MultiDiscrete(np.array(nvec), np.dtype(dtype).type, start=np.array(start))
        case {"kind": "MultiBinary", "n": int(n)}:
            return spaces.MultiBinary(n)
        case {"kind": "MultiBinary", "n": list(n)}:
            return spaces.MultiBinary(n)
        case {"kind": "Dict", "spaces": list(entries)}:
            return spaces.Dict([_decode_entry(entry) for entry in entries])
    raise ValueError(f"the space {data!r} is of no known kind.")


def _decode_entry(data: Any) -> tuple[str, spaces.Space[Any]]:
    match data:
        case [str(key), entry]:
            return key, decode_space(entry)
    raise ValueError(f"the entry {data!r} of a Dict space is no pair of a key and a space.")


def _bound(bound: NDArray[Any]) -> Any:
    """One number where all are equal, so that the file of an image space stays small; infinity as a string."""
    parse = float if np.issubdtype(bound.dtype, np.floating) else int
    values = np.unique(bound)
    if len(values) == 1:
        return str(parse(values[0]))
    return [str(parse(value)) for value in bound.flatten()]


def _array(bound: Any, shape: list[int], dtype: Any) -> NDArray[Any]:
    parse = float if np.issubdtype(dtype, np.floating) else int
    if isinstance(bound, str):
        return np.full(shape, parse(bound), dtype)
    return np.array([parse(value) for value in bound], dtype).reshape(shape)
