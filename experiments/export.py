"""`s7rl export`: a trained agent as a file for other programs, or as a folder to share."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from s7rl.agents.checkpoint_files import read_checkpoint, unpack_checkpoint
from s7rl.agents.export import SUFFIXES, export_agent, format_of_suffix
from s7rl.agents.recurrent_step import OUTPUT_NAMES
from s7rl.experiments.agent_config import ExportConfig
from s7rl.experiments.agent_folders import ExportedFolder, find_checkpoint, open_agent_folder
from s7rl.experiments.errors import UsageError
from s7rl.experiments.model_card import model_card
from s7rl.experiments.run_folder import RunFolder, check_can_be_written, check_is_free, read_json, write_json
from s7rl.experiments.wording import say
from s7rl.files import write_atomically


def export(config: ExportConfig, console: Console) -> int:
    """Writes an agent.

    Args:
        config: the request.
        console: where it is told what was written.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: the run folder or the request cannot be used.
    """
    folder = open_agent_folder(config.run)
    checkpoint = find_checkpoint(folder, config.checkpoint)
    name = folder.path.resolve().name
    suffixed = format_of_suffix(config.out) if config.out else None
    kind = config.format or suffixed or "onnx"
    if suffixed not in (None, kind):
        raise UsageError(
            f"--format is {kind}, but --out {config.out} is named as a file of {suffixed}: leave out --format, or name "
            "it otherwise"
        )
    out = Path(config.out or f"{name}{SUFFIXES.get(kind, '')}")
    try:
        if kind == "folder":
            check_is_free(out)
            share(folder, checkpoint, out)
            say(console, f"written: {out}, an agent for `s7rl watch {out}` or RecurrentPPO.load({str(out)!r})")
            return 0
        check_can_be_written("--out", str(out))
        step = export_agent(checkpoint, out, kind, notes={"task": folder.settings().task_name})
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(f"{checkpoint} cannot be exported: {error}") from error
    say(console, f"written: {out}, {out.stat().st_size:,} bytes")
    for side, names in (("in", step.input_names), ("out", OUTPUT_NAMES)):
        for name in names:
            say(console, f"  {side:<4}{name} {step.shape_text(name)}")
    if kind == "torchscript":
        say(console, "torch has deprecated TorchScript; --format pt2 is what takes its place")
    return 0


def share(folder: RunFolder, checkpoint: Path, out: Path) -> None:
    """Writes the folder that :class:`ExportedFolder` reads.

    Args:
        folder: of the run.
        checkpoint: the agent in it.
        out: the folder to write.
    """
    # The score at the end is that of the last checkpoint.
    scored = checkpoint == folder.latest and folder.evaluation.is_file()
    evaluation = read_json(folder.evaluation) if scored else None
    config, tensors = read_checkpoint(checkpoint)
    steps = int(config["counters"]["num_timesteps"])
    parameters = sum(weight.numel() for weight in tensors["policy"].values())
    card = model_card(folder, evaluation, name=out.resolve().name, steps=steps, parameters=parameters)
    unpack_checkpoint(checkpoint, out)
    target = ExportedFolder(out)
    write_json(target.config, read_json(folder.config))
    if evaluation is not None:
        write_json(target.evaluation, evaluation)
    write_atomically(out / "README.md", card.encode())
