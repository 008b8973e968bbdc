"""Checkpoints: a zip of JSON and safetensors.

    config.json                  format, spaces, constructor arguments, counters, optimiser groups
    policy.safetensors           weights
    optimizer.safetensors        moments of the optimiser
    normalization.safetensors    running statistics, if the environment is a VecNormalize

There is no pickle in it: loading a stranger's agent runs none of their code.  Writing is atomic: a file is complete or
not there, and an older one stays until the new one is complete.

A folder with these files, as :func:`unpack_checkpoint` writes it to be shared, is a checkpoint, too: it has everything
but the moments of the optimiser, which take twice the room of the weights and begin at zero again.
"""

import io
import json
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from s7rl.agents.checkpoint_checks import parse_json, read_members
from s7rl.files import write_atomically

FORMAT = "s7rl-agent"
FORMAT_VERSION = 2
PARTS = ("policy", "optimizer", "normalization")
"""What the tensors of a checkpoint belong to; each part is a file."""

Tensors = dict[str, Tensor]


def pack_checkpoint(config: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]) -> bytes:
    """The bytes of a checkpoint.

    Args:
        config: what is JSON.
        tensors: those of each part that there is.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        head = {"format": FORMAT, "version": FORMAT_VERSION}
        archive.writestr("config.json", json.dumps({**head, **config}, indent=2))
        for part, its in tensors.items():
            archive.writestr(_file_of(part), _to_bytes(its))
    return content.getvalue()


def write_checkpoint(path: str | Path | io.BufferedIOBase, content: bytes) -> None:
    """Write the bytes of a checkpoint, atomically where ``path`` is one."""
    if isinstance(path, io.IOBase):
        path.write(content)
    else:
        target = with_suffix(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content)


def read_checkpoint(path: str | Path | io.BufferedIOBase) -> tuple[dict[str, Any], dict[str, Tensors]]:
    """The config and the tensors of each part of a checkpoint.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a checkpoint of s7rl or is damaged.
    """
    with naming_the_file(path):
        return _parsed(_members(path))


def unpack_checkpoint(path: str | Path | io.BufferedIOBase, folder: str | Path) -> None:
    """Write a checkpoint as the files of a folder, without the moments of the optimiser; ``load`` takes it.

    Args:
        path: what ``save`` wrote.
        folder: to write into; it may be there.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it is none of s7rl or is damaged.
    """
    with naming_the_file(path):
        members = _members(path)
        _parsed(members)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in members.items():
        if name != _file_of("optimizer"):
            write_atomically(Path(folder, name), content)


def _members(path: str | Path | io.BufferedIOBase) -> dict[str, bytes]:
    names = ("config.json", *map(_file_of, PARTS))
    if isinstance(path, io.IOBase):
        return read_members(path.read(), names)
    source = with_suffix(path)
    if source.is_file():
        return read_members(source.read_bytes(), names)
    if Path(path, "config.json").is_file():
        members = {name: Path(path, name).read_bytes() for name in names if Path(path, name).is_file()}
        return {_file_of("optimizer"): safetensors.torch.save({}), **members}
    raise FileNotFoundError(f"there is no checkpoint {source}: pass the path of a file that save() wrote.")


def _parsed(members: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, Tensors]]:
    if "config.json" not in members:
        raise ValueError("it has no config.json: pass the path of a file that save() wrote.")
    config = parse_json(members["config.json"])
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError("its config.json is not that of an s7rl agent. Of the folder of a run pass its latest.zip.")
    if config.get("version") != FORMAT_VERSION:
        raise ValueError(f"its version is {config.get('version')}, this s7rl reads version {FORMAT_VERSION}.")
    there = [part for part in PARTS if _file_of(part) in members]
    return config, {part: safetensors.torch.load(members[_file_of(part)]) for part in there}


@contextmanager
def naming_the_file(path: str | Path | io.BufferedIOBase, replaced: Collection[str] = ()) -> Iterator[None]:
    """Turn whatever a broken file makes libraries raise into one line that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        reason = shorten(str(error), 300, placeholder=" ...")
        if isinstance(error, KeyError):
            reason = f"{reason} is missing."
        where = getattr(path, "name", path) if isinstance(path, io.IOBase) else path
        what = "is not a checkpoint that this s7rl can read"
        if replaced:
            what = f"cannot be loaded with {' and '.join(replaced)} in place of its own"
        raise ValueError(f"{where} {what}: {reason or type(error).__name__}") from error


def _file_of(part: str) -> str:
    return f"{part}.safetensors"


def with_suffix(path: str | Path) -> Path:
    """The path, with ".zip" where it has a name, and no suffix."""
    path = Path(path)
    return path if path.suffix or not path.name else path.with_suffix(".zip")


def _to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    # Cloned, since SB3 policies hold the features extractor under three names, and safetensors refuses shared memory.
    return safetensors.torch.save(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    )
