"""Which layer made a number that is not finite: a look at all that goes in and out of every module.

Forwards and backwards, by hooks that are there only while somebody looks.  That something is wrong is found by other
means, which cost less: :mod:`s7rl.agents.numerics`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from torch import Tensor, nn

from s7rl.cores import Core


class NumericalError(ArithmeticError):
    """A number that has to be finite is not.  The weights are those from before it appeared."""


@contextmanager
def diagnosing(policy: nn.Module, forward: Callable[[], Any], *, step: int | None, timesteps: int) -> Iterator[None]:
    """Where a block fails over a number in the network, say which layer made it.

    Args:
        policy: the network.
        forward: what the block had it compute; it is computed once more, with a look at every layer.
        step: steps of the rollout, the one that is to be made included; None: while learning.
        timesteps: environment steps so far, over all environments.

    Raises:
        NumericalError: if the block fails and a number in the network is nan or infinite.
    """
    try:
        yield
    except (NumericalError, RuntimeError, ValueError):
        try:
            with suppress(RuntimeError, ValueError), find_anomalies(policy):
                forward()
        except NumericalError as found:
            learning = f"while learning, after {timesteps:,} environment steps"
            when = learning if step is None else when_acting(step, timesteps)
            raise NumericalError(f"{when}: {found}") from None
        raise


@contextmanager
def find_anomalies(policy: nn.Module) -> Iterator[None]:
    """Check all that goes in and out of every module and every core's scan, and the gradients on their way back.

    It costs a copy and a look at every tensor.  Where none of it is in use, nothing is left of it.

    Raises:
        NumericalError: at the first number that is not finite, with the path of the module.
    """
    with ExitStack() as undo:
        for path, module in policy.named_modules():
            watch = _Watch(f"{path or 'the policy'} ({type(module).__name__})", module)
            undo.callback(module.register_forward_pre_hook(watch.before).remove)
            undo.callback(module.register_forward_hook(watch.after).remove)
            if isinstance(module, Core):
                # Both are called by themselves, past the hooks.
                for method in ("scan", "step"):
                    undo.enter_context(_replaced(module, method, watch.around(getattr(module, method))))
        yield


def when_acting(step: int, timesteps: int) -> str:
    """The part of a message that says when: at which step of the rollout, and of all."""
    where = f"at step {step} of the rollout" if step else "before the first step of the rollout"
    return f"{where}, after {timesteps:,} environment steps"


@contextmanager
def _replaced(module: nn.Module, method: str, function: Callable[..., Any]) -> Iterator[None]:
    """A method of one object, replaced for a while."""
    before = vars(module).get(method)
    setattr(module, method, function)
    try:
        yield
    finally:
        if before is None:
            delattr(module, method)
        else:
            setattr(module, method, before)


class _Watch:
    """What :func:`find_anomalies` does at one module."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module = name, module

    def before(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self._checked("input", "that it passes back", part) for part in inputs)

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return tuple(self.after(module, inputs, part) for part in output)
        return self._checked("output", "that reaches it", output)

    def around(self, scan: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*inputs: Any) -> Any:
            return self.after(self.module, inputs, scan(*self.before(self.module, inputs)))

        return checked

    def _checked(self, role: str, gradient: str, x: Any) -> Any:
        """The tensor, or a copy that checks its gradient: one of its own, which no other module takes part in."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        self._check(f"the {role} of {self.name}", x)
        if not x.requires_grad:
            return x
        x = x.clone()
        x.register_hook(partial(self._check, f"the gradient {gradient}, at the {role} of {self.name},"))
        return x

    def _check(self, what: str, x: Tensor) -> None:
        if x.isfinite().all():
            return
        index = (~x.isfinite()).nonzero()[0].tolist()
        broken = [name for name, own in self.module.named_parameters(recurse=False) if not own.isfinite().all()]
        of_its_own = f"; its own {broken[0]} is not finite" if broken else ""
        raise NumericalError(f"{what} is {x[tuple(index)].item()} at {index} of {list(x.shape)}{of_its_own}.")
