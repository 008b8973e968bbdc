"""beartype with a memory: what it has let pass once it lets pass again without a look.

For pytest's --jaxtyping-packages.  A check reads of its arguments and of the result no more than types, shapes, dtypes
and plain values, and a test that steps a thousand times would spend half its time on the same check.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from beartype import beartype


def remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    """The checker of the signature of `function`, which itself does nothing: jaxtyping calls it for the check alone."""
    check = functools.cache(lambda: beartype(function))  # made when it is first needed: making it is what takes longest
    passed: set[object] = set()

    @functools.wraps(function)
    def check_what_is_new(*args: Any, **kwargs: Any) -> None:
        if torch.compiler.is_compiling():  # sizes are symbols then
            check()(*args, **kwargs)
            return
        call = kind(args), kind(kwargs)
        if call not in passed:
            check()(*args, **kwargs)
            passed.add(call)

    return check_what_is_new


def kind(value: Any) -> object:
    """All that a signature can say of a value, to be hashed."""
    cls: Any = type(value)
    return cls if (look := look_of(cls)) is None else (cls, look(value))


@functools.cache  # asked for every argument of every call
def look_of(cls: Any) -> Callable[[Any], object] | None:
    """What a signature can say of values of a class, beyond that they are of it."""
    if issubclass(cls, torch.Tensor | np.ndarray):
        return lambda array: (array.dtype, array.shape)
    if issubclass(cls, tuple | list):
        return lambda entries: tuple(map(kind, entries))
    if issubclass(cls, dict):
        return lambda entries: tuple((key, kind(entry)) for key, entry in entries.items())
    return (lambda plain: plain) if issubclass(cls, str | int | type) else None
