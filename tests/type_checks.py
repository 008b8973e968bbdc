"""beartype with a memory: what it has let pass once it lets pass again without a look.

For pytest's --jaxtyping-packages.  A check reads of its arguments and of the result no more than types, shapes, dtypes
and plain values, and a test that steps a thousand times would spend half its time on the same check.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Collection
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
        call = None if torch.compiler.is_compiling() else (kind(args), kind(kwargs))  # sizes are symbols then
        if call is None or call not in passed:
            state = random.getstate()  # beartype chooses what it looks at by it, and tests seed it
            check()(*args, **kwargs)
            random.setstate(state)
            passed.add(call)

    return check_what_is_new


@functools.singledispatch
def kind(value: Any) -> object:
    """What a signature can say of a value, to be hashed; of what is not listed below, its class.

    Other collections, whose entries are not looked at, are equal to nothing: each is checked.
    """
    return object() if isinstance(value, Collection) else type(value)


@kind.register(torch.Tensor)
@kind.register(np.ndarray)
def _(array: Any) -> object:
    return type(array), array.dtype, array.shape


@kind.register(tuple)
@kind.register(list)
def _(entries: Any) -> object:
    return type(entries), *map(kind, entries)


@kind.register(dict)
def _(entries: Any) -> object:
    return type(entries), *((key, kind(entry)) for key, entry in entries.items())


@kind.register(str)
@kind.register(int)
@kind.register(type)
def _(plain: Any) -> object:
    return type(plain), plain
