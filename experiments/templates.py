"""The templates of pages and cards, which lie in this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def load_template(name: str, *, escape: bool, filters: dict[str, Callable[..., Any]] | None = None) -> Template:
    """A template in which a value that is not given is an error, and a line of nothing but code leaves none.

    Args:
        name: its path in this folder.
        escape: what stands for something in HTML, in values.
        filters: further ones, by name.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters or {}
    return environment.get_template(name)
