"""beartype with a memory: what it has let pass once it lets pass again without a look.

For pytest's --jaxtyping-packages.  A check reads of its arguments and of the result no more than types, shapes, dtypes
and plain values, and a test that steps a thousand times would spend half its time on the same check.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from beartype import beartype


def remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    """The checker of the signature of `function`, which itself does nothing: jaxtyping calls it for the check alone."""
    check = functools.cache(lambda: beartype(function))  # made when it is first needed: making it is what takes longest
    passed: set[Hashable] = set()

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


def kind(value: Any) -> Hashable:
    """All that a signature can say of a value."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return type(value), value.dtype, value.shape
    if isinstance(value, tuple | list):
        return type(value), *map(kind, value)
    if isinstance(value, dict):
        return type(value), *((key, kind(entry)) for key, entry in value.items())
    if isinstance(value, str | int):
        return type(value), value
    return value if isinstance(value, type) else type(value)
