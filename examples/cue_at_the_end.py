"""How much of a cue is left in S7's output at the end of a corridor, before anything is learned.

    python examples/cue_at_the_end.py --corridor-length 5000

What an agent sees on its way: one of two cues for a step or two, the corridor, its end. It wastes some steps, other
ones in each episode. For some options of the layer the table shows the distance between the mean outputs after either
cue, and that distance over two others: over the mean output, which steps of the optimiser move along with everything
else, and over how far outputs after the same cue scatter, as the wasted steps differ.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from s7rl import Core, make_core
from s7rl.experiments.presets import AGENTS

CUES, CORRIDOR, END = 2, 2, 3
EPISODES = 32
WASTED = 0.002
"""Share of the corridor's steps."""
STAYS = 0.1
"""How likely one more step is spent at the cue."""
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "rotation=0": {"rotation": 0.0},
    "token_shift=1": {"token_shift": 1.0},
    "token_shift=1 input_scale=0": {"token_shift": 1.0, "input_scale": 0.0},
    "token_shift=1 rectified": {"token_shift": 1.0, "rectified": True},
    "token_shift=1 rectified rotation=0": {"token_shift": 1.0, "rectified": True, "rotation": 0.0},
    "the same, input_scale=0: s7-long": dict(AGENTS["s7-long"].core_kwargs),
}


def walks(corridor_length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Symbols [T, B], the cues in turn, and the step at which each walk has come to the end [B]."""
    stays = torch.empty(EPISODES).geometric_(1 - STAYS, generator=generator)
    wasted = torch.binomial(torch.full((EPISODES,), float(corridor_length)), torch.tensor(WASTED), generator=generator)
    ends = (stays + corridor_length - 1 + wasted).long()
    steps = torch.arange(int(ends.max()) + 1)[:, None]
    cues = torch.arange(EPISODES) % CUES
    return torch.where(steps < stays, cues, torch.where(steps < ends, CORRIDOR, END)), ends


def distances(core: Core, corridor_length: int, generator: torch.Generator) -> Tensor:
    """Between the outputs after the cues; the mean output's length; the scatter around the mean of each cue."""
    symbols, ends = walks(corridor_length, generator)
    embedding = torch.randn(END + 1, core.d_model, generator=generator)
    with torch.no_grad():
        y, _ = core.scan(embedding[symbols], core.initial_state(EPISODES), torch.zeros(symbols.shape, dtype=torch.bool))
    last = y[ends, torch.arange(EPISODES)]
    after = torch.stack([last[cue::CUES] for cue in range(CUES)])  # [cue, episode, H]
    means = after.mean(dim=1)
    scatter = (after - means[:, None]).square().sum(dim=-1).mean().sqrt()
    return torch.stack([(means[0] - means[1]).norm(), last.mean(dim=0).norm(), scatter])


def main(words: Sequence[str] | None = None) -> dict[str, tuple[float, float]]:
    """Prints the table; returns the cue over the mean and over the scatter by options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corridor-length", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=5, help="layers, over which the median is taken")
    given = parser.parse_args(words)
    table = Table("options", "cue", "cue / mean", "cue / scatter")
    ratios = {}
    for name, options in OPTIONS.items():
        found = []
        for seed in range(given.seeds):
            torch.manual_seed(seed)
            core = make_core("s7", d_model=64, horizon=(2.0, 10.0 * given.corridor_length), **options)
            found.append(distances(core, given.corridor_length, torch.Generator().manual_seed(seed)))
        cue, mean, scatter = torch.stack(found).T
        ratios[name] = float((cue / mean).median()), float((cue / scatter).median())
        table.add_row(name, f"{cue.median():.3f}", *(f"{ratio:.3g}" for ratio in ratios[name]))
    Console().print(table)
    return ratios


if __name__ == "__main__":
    main()
