"""Agents as files that need neither s7rl nor, but for TorchScript and torch.export, torch.

==============  =========  ====================================================================================
format          suffix     read by
==============  =========  ====================================================================================
``onnx``        ``.onnx``  ONNX Runtime and others, in many languages; writing one takes the extra ``onnx``
``torchscript`` ``.pt``    ``torch.jit.load`` and LibTorch; torch has deprecated it, but writes it still
``pt2``         ``.pt2``   ``torch.export.load``, and AOTInductor: what takes its place
==============  =========  ====================================================================================

All hold :class:`s7rl.agents.recurrent_step.RecurrentStep`, for any number of environments.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch.export import Dim, ExportedProgram

import s7rl
from s7rl.agents.encoding import encode_space
from s7rl.agents.normalization import load_normalization
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.ppo import RecurrentPPO
from s7rl.agents.recurrent_step import OUTPUT_NAMES, RecurrentStep
from s7rl.files import write_atomically


def export_agent(
    checkpoint: str | Path | io.BufferedIOBase,
    path: str | Path,
    format: str | None = None,
    *,
    notes: Mapping[str, str] | None = None,
    custom_objects: dict[str, Any] | None = None,
) -> RecurrentStep:
    """Write the step of an agent, with the scaling of its observations and the choice of its actions.

    Args:
        checkpoint: what ``RecurrentPPO.save`` wrote.
        path: the file to write, replaced if it is there.
        format: one of ``FORMATS``; None: the one that has the suffix of ``path``, ONNX where none has.
        notes: what else a reader of the file shall find in it, by name.
        custom_objects: as for ``RecurrentPPO.load``, where the agent has classes of your own.

    Returns:
        What was written, to call from Python.

    Raises:
        ValueError: if the format is none, or another than the suffix of ``path`` stands for, or the checkpoint cannot
            be read.
        TypeError: if ``checkpoint`` is a model.
        ImportError: if the format needs a library that is not installed.
    """
    suffixed = format_of_suffix(path)
    if format is None:
        format = suffixed or "onnx"
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, but agents are written as {', '.join(FORMATS)}: take one of them.")
    if suffixed not in (None, format):
        raise ValueError(
            f"format is {format!r}, but path is {str(path)!r}, as of a file of {suffixed}: leave the format out, or "
            f"take the suffix {SUFFIXES[format]}."
        )
    if isinstance(checkpoint, RecurrentPPO):
        raise TypeError(
            "checkpoint is a model, but what is exported is what it wrote: pass the path that you save it to."
        )
    step = load_step(checkpoint, custom_objects)
    with torch.no_grad(), _quiet():
        content = FORMATS[format](step, {**_facts(step), **(notes or {})})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(path), content)
    return step


def format_of_suffix(path: str | Path) -> str | None:
    """The format whose suffix a file's name ends in; None: no format's."""
    return next((format for format, suffix in SUFFIXES.items() if Path(path).suffix.lower() == suffix), None)


def load_step(
    checkpoint: str | Path | io.BufferedIOBase, custom_objects: dict[str, Any] | None = None
) -> RecurrentStep:
    """The step of the agent of a checkpoint, on the CPU."""
    model = RecurrentPPO.load(checkpoint, device="cpu", custom_objects=custom_objects)
    if isinstance(checkpoint, io.IOBase):
        checkpoint.seek(0)
    policy = model.policy
    assert isinstance(policy, RecurrentActorCriticPolicy)
    unused = DummyVecEnv([lambda: _Spaces(policy.observation_space, policy.action_space)])
    normalizer = load_normalization(checkpoint, unused)
    step = RecurrentStep(policy, normalizer if isinstance(normalizer, VecNormalize) else None)
    return step.requires_grad_(False)


def recorded(step: RecurrentStep) -> ExportedProgram:
    """The step as torch.export records it, for any number of environments."""
    # Of 2, as torch takes a size of 1 for a fixed one.
    example, batch = step.example(2), Dim("batch")
    return torch.export.export(step, example, dynamic_shapes=(tuple({0: batch} for _ in example),), strict=False)


def _onnx(step: RecurrentStep, facts: Mapping[str, str]) -> bytes:
    try:
        import onnxscript  # noqa: F401 - what torch writes ONNX with
    except ImportError as error:
        raise ImportError(
            f"ONNX cannot be written ({error}): pip install 's7rl[onnx]', or take a format that needs nothing: "
            "torchscript, pt2 or, with s7rl export, folder."
        ) from error
    program = torch.onnx.export(
        recorded(step), dynamo=True, input_names=step.input_names, output_names=OUTPUT_NAMES, verbose=False
    )
    assert program is not None
    model = program.model
    for value in (*model.graph.inputs, *model.graph.outputs):
        assert value.shape is not None
        value.shape[0] = "batch"
    for node in model.graph:
        node.metadata_props.clear()  # where in whose files each was recorded
        for value in node.outputs:
            value.metadata_props.clear()
    model.graph.name, model.producer_name, model.producer_version = "agent", "s7rl", s7rl.__version__
    model.metadata_props.update(facts)
    content: bytes = program.model_proto.SerializeToString()
    return content


def _torchscript(step: RecurrentStep, facts: Mapping[str, str]) -> bytes:
    # Not of what torch.export recorded: its sizes would be fixed.
    traced = torch.jit.trace(step, step.example(2), check_trace=False)
    content = io.BytesIO()
    torch.jit.save(traced, content, _extra_files={name: fact.encode() for name, fact in facts.items()})
    return content.getvalue()


def _pt2(step: RecurrentStep, facts: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    torch.export.save(recorded(step), content, extra_files=dict(facts))
    return content.getvalue()


FORMATS: Mapping[str, Callable[[RecurrentStep, Mapping[str, str]], bytes]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "pt2": _pt2,
}
"""How each is written."""
SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2"}


def _facts(step: RecurrentStep) -> dict[str, str]:
    """What a reader of the file has to know beside the shapes of what goes in."""
    policy = step.policy
    return {
        "s7rl": s7rl.__version__,
        "core": policy.core_name,
        "observation_space": json.dumps(encode_space(policy.observation_space)),
        "action_space": json.dumps(encode_space(policy.action_space)),
        "noise": step.noise_kind,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says to those who write exporters."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # of torchvision's operators, which need it to be installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class _Spaces(gym.Env[Any, Any]):
    """An environment to ask for its spaces, and for nothing else."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
