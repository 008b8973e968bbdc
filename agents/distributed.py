"""Data-parallel training: what the processes ("ranks") of ``torch.distributed`` tell each other.

Every rank has environments of its own and the same weights.  What one process would compute over all environments,
the ranks compute together: gradients, advantages' spread, running statistics, the windows of the log.  All functions
are collective: every rank has to call them, in the same order.  With one process they return at once what that process
has.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from s7rl.agents.normalization import running_statistics

Item = TypeVar("Item")


@contextmanager
def process_group(device: str | torch.device = "auto") -> Iterator[None]:
    """Be one rank of the group that torchrun's environment variables describe; without them, nothing happens.

    Args:
        device: where the network will run, as for :class:`s7rl.agents.RecurrentPPO`: on "cuda" each process of a
            machine takes a GPU of its own, and gradients go through NCCL; otherwise through Gloo.

    Raises:
        ValueError: if the variables are incomplete, or there are fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {' and '.join(missing)} of the environment variables that "
            "torchrun sets are missing: start with torchrun, or unset WORLD_SIZE."
        )
    on_gpu = get_device(device).type == "cuda"
    if on_gpu:
        local_rank, n_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= n_gpus:
            raise ValueError(
                f"LOCAL_RANK is {local_rank}, but this machine has {n_gpus} GPU(s): start at most one process for "
                "each, or train on the CPU."
            )
        torch.cuda.set_device(local_rank)
    # This module keeps the group of the moment as a default argument.  Imported later, as optimisers do, it would keep
    # ours until the interpreter ends, whose last objects Gloo's threads must not touch: the process could abort.
    import_module("torch.distributed.nn")
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """How many ranks there are: 1 outside a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def gather(mine: Item) -> list[Item]:
    """What each rank hands in, in the order of the ranks; a tensor should be on the CPU."""
    everyones: list[Any] = [mine]
    if world_size() > 1:
        everyones = [None] * world_size()
        dist.all_gather_object(everyones, mine)
    return everyones


def any_rank(flag: bool) -> bool:
    """Whether the flag is true on at least one rank."""
    return any(gather(flag))


def check_same(values: Mapping[str, Any]) -> None:
    """Raise ValueError, on all ranks, where they were given different values under some name; a missing one is None."""
    everyones = gather(dict(values))
    for name in dict.fromkeys(name for mine in everyones for name in mine):
        first, *others = [mine.get(name) for mine in everyones]
        for number, other in enumerate(others, start=1):
            if other != first:
                raise ValueError(
                    f"{name} is {first} on rank 0 and {other} on rank {number}, but ranks learn in step: "
                    "pass the same value on all."
                )


def broadcast_parameters(module: nn.Module) -> None:
    """Give all ranks the parameters and buffers that the module has on rank 0."""
    if world_size() == 1:
        return
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            sent = tensor.contiguous()
            dist.broadcast(sent, src=0)
            tensor.copy_(sent)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the ranks, in one exchange; a missing one counts as zero.

    What has no gradient on any rank gets none: an optimiser with weight decay would train it on zeros.
    """
    if world_size() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    given = torch.tensor([p.grad is not None for p in trained], dtype=gradients[0].dtype, device=gradients[0].device)
    flat = mean(torch.cat([given, *(gradient.flatten() for gradient in gradients)]))
    share, *averages = flat.split([len(trained), *(p.numel() for p in trained)])
    for parameter, average, on_any_rank in zip(trained, averages, (share > 0).tolist(), strict=True):
        parameter.grad = average.view_as(parameter).to(parameter.dtype) if on_any_rank else None


def mean(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Mean over the ranks, without gradient."""
    if world_size() == 1:
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def rows(x: Shaped[Tensor, "T B"]) -> Shaped[Tensor, "T KB"]:
    """The rows of all ranks side by side, in the order of the ranks, which have equally many."""
    if world_size() == 1:
        return x
    everyones = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(everyones, x.contiguous())
    return torch.cat(everyones, dim=1)


def normalize(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Shift and scale to mean 0 and standard deviation 1 (unbiased) over the entries of all ranks."""
    # Wide: the statistics of many processes' numbers have to be the same on all.
    wide = x.detach().double()
    everyones = rows(wide.reshape(-1, 1))
    normalized: Tensor = (wide - everyones.mean()) / (everyones.std() + 1e-8)
    return normalized.to(x.dtype)


class _Moments(NamedTuple):
    """Mean, variance and weight of a number of samples."""

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    weight: float

    @classmethod
    def of(cls, running: RunningMeanStd) -> "_Moments":
        return cls(np.array(running.mean), np.array(running.var), float(running.count))

    def assign_to(self, running: RunningMeanStd) -> None:
        running.mean, running.var, running.count = self.mean.copy(), self.var.copy(), self.weight

    def without(self, before: "_Moments") -> "_Moments":
        """Those of the samples that came after ``before``: the inverse of Chan et al.'s merge (1979)."""
        weight = self.weight - before.weight
        if weight <= 0:
            return _Moments(self.mean, np.zeros_like(self.var), 0.0)
        shift = self.mean - before.mean
        squares = self.var * self.weight - before.var * before.weight - shift**2 * self.weight * before.weight / weight
        return _Moments(before.mean + shift * self.weight / weight, np.maximum(squares, 0.0) / weight, weight)


class SharedStatistics:
    """The running statistics of a ``VecNormalize``, over the environments of all ranks.

    Between two calls of :meth:`merge` each rank normalises by what it has seen itself; after it all have the statistics
    of one process that had stepped all environments.

    Args:
        normalizer: the environments' ``VecNormalize``, if they have one.  What rank 0 has seen so far holds for all.
    """

    def __init__(self, normalizer: VecNormalize | None) -> None:
        self._running: list[RunningMeanStd] = []
        if world_size() == 1 or normalizer is None:
            return
        self._running = list(running_statistics(normalizer).values())
        self._merged = gather([_Moments.of(running) for running in self._running])[0]
        for running, moments in zip(self._running, self._merged, strict=True):
            moments.assign_to(running)

    def merge(self) -> None:
        """Add what the other ranks have seen since the last call."""
        if not self._running:
            return
        # Only what is new: what was known before, and the pseudo-sample that SB3 begins with, would count K times.
        new = [_Moments.of(running).without(old) for running, old in zip(self._running, self._merged, strict=True)]
        everyones = gather(new)
        for number, running in enumerate(self._running):
            self._merged[number].assign_to(running)
            for moments in everyones:
                if moments[number].weight > 0:
                    running.update_from_moments(*moments[number])
        self._merged = [_Moments.of(running) for running in self._running]


class SharedEpisodes:
    """SB3's windows of the last episodes, ``ep_info_buffer`` and ``ep_success_buffer``, over all ranks.

    During a rollout each rank adds the episodes that end in its own environments; :meth:`merge` puts those of all ranks
    in, in the order in which one process would have seen them end.

    Args:
        model: whose windows they are, at the start of a rollout.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self._model = model
        self._ended: list[tuple[int, dict[str, Any]]] = []
        if world_size() > 1:
            assert model.ep_info_buffer is not None
            assert model.ep_success_buffer is not None
            self._before: tuple[deque[Any], deque[Any]] = (model.ep_info_buffer.copy(), model.ep_success_buffer.copy())

    def add(self, step: int, infos: list[dict[str, Any]], dones: NDArray[np.bool_]) -> None:
        """Note the episodes that ended at a step of the rollout."""
        self._model._update_info_buffer(infos, dones)
        if world_size() > 1:
            for i in dones.nonzero()[0].tolist():
                self._ended.append((step, {key: infos[i][key] for key in ("episode", "is_success") if key in infos[i]}))

    def merge(self) -> None:
        """Put the episodes of all ranks into the windows."""
        if world_size() == 1:
            return
        self._model.ep_info_buffer, self._model.ep_success_buffer = self._before
        everyones = [episode for episodes in gather(self._ended) for episode in episodes]
        for _, info in sorted(everyones, key=lambda episode: episode[0]):
            self._model._update_info_buffer([info], np.ones(1, dtype=bool))
