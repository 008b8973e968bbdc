"""Options of `s7rl train` in a TOML file: what `s7rl tune` writes and `s7rl train --preset` reads.

    agent = "s7"
    learning_rate = 0.001
    normalize_rewards = true

    [core_kwargs]
    rotation = 0.5

A name is that of an option, with _ for -; a table holds the name=value pairs of one that takes such.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s7rl.experiments.arguments import write_assignments
from s7rl.experiments.errors import UsageError
from s7rl.experiments.toml_files import read_toml
from s7rl.files import write_atomically

NOT_IN_A_PRESET = ("env", "out", "preset")
"""What is of one run, and not of several."""


def preset_words(path: Path) -> list[str]:
    """Reads a preset as words of the command line; whether there are such options is found out where they are read.

    Raises:
        UsageError: the file cannot be read, or a value is none of an option.
    """
    words: list[str] = []
    for name, value in read_toml(path, f"--preset {path}").items():
        if name in NOT_IN_A_PRESET:
            raise UsageError(f"--preset {path}: {name} is of one run, not of a preset: give it on the command line")
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, dict):
            words += [write_assignments({key: part}) for key, part in value.items()]
        elif isinstance(value, list):
            words += [str(part) for part in value]
        elif isinstance(value, (str, int, float)):
            words.append(str(value))
        else:
            raise UsageError(f"--preset {path}: {name} = {value} is no value of an option: give a text or a number")
    return words


def write_preset(path: Path, options: Mapping[str, Any], comment: str) -> None:
    """Writes a preset, in one step.

    Args:
        path: the file; one that is there is replaced.
        options: by name; texts, numbers, truth values, and lists or mappings of such.
        comment: one line for its head.
    """
    import tomli_w  # of the extra `tune`: only its command writes presets

    write_atomically(path, f"# {comment}\n{tomli_w.dumps(options)}".encode())
