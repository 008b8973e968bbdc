"""beartype with a memory: what it has let pass once it lets pass again without a look.

For pytest's --jaxtyping-packages.  A check reads of its arguments and of the result no more than types, shapes, dtypes
and plain values, and a test that steps a thousand times would spend half its time on the same check.  jaxtyping's own
decorator takes as long before it asks the checker, hence :func:`jaxtyped` in its place.  Not looked at is what runs
while torch compiles or exports, where sizes are symbols; `make shapes` does.  A function is for one thread at a time.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import random
import types
from collections.abc import Callable, Collection
from typing import Any

import jaxtyping
import numpy as np
import torch
from beartype import beartype

check_always = jaxtyping.jaxtyped


def jaxtyped(decorated: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """What jaxtyping's import hook writes before every function and class, for a checker that does all by itself."""
    if decorated is None:
        return functools.partial(jaxtyped, typechecker=typechecker)
    if inspect.isfunction(decorated):
        return typechecker(decorated)
    if dataclasses.is_dataclass(decorated) and "__init__" in vars(decorated):
        decorated.__init__ = typechecker(decorated.__init__)  # type: ignore[misc, method-assign]
    return decorated


def remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose arguments and result are checked if no others of their kinds have passed together."""
    passed: dict[object, set[object]] = {}  # of each kind of call, the kinds of its results
    there: list[Any] = []  # the result of a call that has been made

    @functools.cache  # made when it is first needed: making it is what takes longest
    def checked() -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return there.pop() if there else function(*args, **kwargs)

        # Where the names in the annotations are known.
        call = types.FunctionType(call.__code__, function.__globals__, function.__name__, None, call.__closure__)
        return check_always(functools.wraps(function)(call), typechecker=leaving_the_generator)

    @functools.wraps(function)
    def check_what_is_new(*args: Any, **kwargs: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable or torch.compiler.is_compiling():
            return function(*args, **kwargs)
        call = kind(args), kind(kwargs)
        if call in passed:
            result = function(*args, **kwargs)
            if kind(result) in passed[call]:
                return result
            there.append(result)
        try:
            result = checked()(*args, **kwargs)
        finally:
            there.clear()
        passed.setdefault(call, set()).add(kind(result))
        return result

    return check_what_is_new


def leaving_the_generator(signature: Callable[..., Any]) -> Callable[..., Any]:
    """beartype, which chooses by Python's generator what it looks at, where tests seed that generator."""
    check = beartype(signature)

    def checking(*args: Any, **kwargs: Any) -> None:
        state = random.getstate()
        check(*args, **kwargs)
        random.setstate(state)

    return checking


def kind(value: Any) -> object:
    """What a signature can say of a value, to be hashed.

    Of what is no array, tuple, list, dictionary or plain value, that is its class.  Other collections, whose entries
    are not looked at, are equal to nothing: each is checked.
    """
    return _kind_of(type(value))(value)  # type: ignore[arg-type]  # classes are hashable


@functools.cache
def _kind_of(cls: type) -> Callable[[Any], object]:
    if issubclass(cls, torch.Tensor | np.ndarray):
        return lambda array: (cls, array.dtype, array.shape)
    if issubclass(cls, tuple | list):
        return lambda entries: (cls, *[kind(entry) for entry in entries])
    if issubclass(cls, dict):
        return lambda entries: (cls, *[(key, kind(entry)) for key, entry in entries.items()])
    if issubclass(cls, str | int | type):
        return lambda plain: (cls, plain)
    if issubclass(cls, Collection):
        return lambda collection: object()
    return lambda other: cls
