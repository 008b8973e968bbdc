"""The model card of an agent, as the Hugging Face Hub and people read it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from s7rl.experiments.run_folder import RunFolder, read_json
from s7rl.experiments.templates import load_template


def model_card(
    folder: RunFolder, evaluation: Mapping[str, Any] | None, *, name: str, steps: int, parameters: int
) -> str:
    """Writes the card.

    Args:
        folder: of the run.
        evaluation: its evaluation.json; None where there is none of this agent.
        name: of the agent.
        steps: environment steps that it learned from.
        parameters: numbers in its network.

    Returns:
        Markdown under a header of YAML, whose strings are JSON's, as YAML allows.
    """
    settings = folder.settings()
    return load_template("model_card.md.jinja", escape=False).render(
        name=name,
        settings=settings,
        # As Python writes them.
        options=(f", env_kwargs={dict(settings.env_kwargs)!r}" if settings.env_kwargs else "")
        + (f", wrappers={list(settings.wrappers)!r}" if settings.wrappers else ""),
        evaluation=evaluation,
        steps=steps,
        parameters=parameters,
        command=shlex.join(folder.command),
        versions=read_json(folder.config).get("versions", {}),
    )
