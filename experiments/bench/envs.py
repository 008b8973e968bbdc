"""`s7rl bench envs`: what a step of an environment costs, and what random actions earn there.

Environments of a batched engine are stepped as they are trained on; all others one by one, in Gymnasium's
``SyncVectorEnv``. Some take turns at a time, so that a slow moment of the machine does not fall on one of them. What is
measured is the processor's time, which does not run while something else has the processor.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from s7rl.envs import find_task, task_ids
from s7rl.envs.registry import find_spec
from s7rl.experiments.bench.config import EnvsBench
from s7rl.experiments.bench.measuring import Clock, Spread, Times, failure, interleave
from s7rl.experiments.bench.models import SEED
from s7rl.experiments.bench.output import BenchFolder, Cell, spread_cells, spread_columns
from s7rl.experiments.bench.progress import BenchProgress
from s7rl.experiments.bench.random_play import RandomPlay, make_envs
from s7rl.experiments.errors import UsageError
from s7rl.experiments.spaces import space_text
from s7rl.experiments.suggestions import check_once
from s7rl.experiments.wording import compact, say

AT_A_TIME = 8
"""So many take turns: all together would not fit into the memory of a small machine."""
CLOCKS: Mapping[str, Clock] = MappingProxyType({"processor": time.process_time, "wall": time.perf_counter})
COLUMNS = (
    "env",
    "observations",
    "actions",
    "stepped",
    "n_envs",
    "clock",
    *spread_columns("steps_per_second"),
    "repeats",
    "random_return",
    "standard_error",
    "episodes",
    "known_random_return",
    "left_out",
)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """An environment that is measured."""

    stepped: str
    """How."""
    clock: str
    """By which of ``CLOCKS``."""
    play: RandomPlay
    """With which actions, and what came of it."""


def bench_envs(request: EnvsBench, command: Sequence[str], console: Console) -> Path:
    """Measures, and leaves a folder.

    Args:
        request: the request.
        command: the words it was made of.
        console: where everything is shown.

    Returns:
        The folder.

    Raises:
        UsageError: an environment is not known, or the folder cannot be made.
    """
    ids, left_out = chosen_envs(request.envs)
    folder = BenchFolder("envs", COLUMNS, command, request.common)
    table = _table(request)
    with BenchProgress(console, len(ids)) as progress:
        for first in range(0, len(ids), AT_A_TIME):
            group = ids[first : first + AT_A_TIME]
            with ExitStack() as stack:
                contenders = {}
                for env_id in group:
                    progress.show(f"{env_id}: making")
                    contender = left_out.get(env_id) or _prepared(request, env_id, stack)
                    if isinstance(contender, Contender):
                        contenders[env_id] = contender
                    else:
                        left_out[env_id] = contender
                progress.show(f"{group[0]} to {group[-1]}: in turns")
                rows = _measure(request, contenders)
            folder.add(*(rows.get(env_id, {"env": env_id, "left_out": left_out.get(env_id)}) for env_id in group))
            for row in rows.values():
                _show(table, row)
            progress.advance(len(group))
    console.print(table)
    for env_id, reason in left_out.items():
        its = reason if reason.startswith(env_id) else f"{env_id}: {reason}"
        say(console, f"left out: {its}")
    return folder.path


def chosen_envs(wanted: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The environments of an option ``--envs``, all that are listed where it is empty.

    Returns:
        Their ids, and why some cannot be made: their package is not installed.

    Raises:
        UsageError: there is no such environment, or it is named twice.
    """
    check_once(wanted, "--envs")
    known = task_ids()
    ids, left_out = list(wanted or known), {}
    for env_id in ids:
        try:
            find_spec(env_id)
        except ValueError as error:
            if env_id not in known:
                raise UsageError(str(error)) from None
            left_out[env_id] = str(error)
    return ids, left_out


def clock_of(env_id: str) -> str:
    """The processor's, but for VizDoom, which plays in processes of its own: their time is not counted as ours."""
    return "wall" if env_id.startswith("Vizdoom") else "processor"


def _prepared(request: EnvsBench, env_id: str, stack: ExitStack) -> Contender | str:
    """Makes environments, which the stack closes, and finds out how fast they are; or says why that cannot be done."""
    try:
        envs, stepped = make_envs(env_id, request.n_envs, request.budget_seconds)
        stack.callback(envs.close)
        play = RandomPlay(envs, SEED)
        clock = clock_of(env_id)
        play.calibrate(request.budget_seconds / request.repeats, clock=CLOCKS[clock])
    except Exception as error:  # others' environments raise what they like
        return failure(error)
    return Contender(stepped=stepped, clock=clock, play=play)


def _measure(request: EnvsBench, contenders: Mapping[str, Contender]) -> dict[str, dict[str, Cell]]:
    """Times the rounds; those that have not finished an episode then go on for a while, untimed. Returns their rows."""
    times: dict[tuple[str, str], Times] = {}
    for name, clock in CLOCKS.items():
        thunks = {}
        for env_id, contender in contenders.items():
            if contender.clock == name:
                # In turns like everything else, but of no interest: its times are dropped.
                thunks[env_id, "draw"] = contender.play.draw
                thunks[env_id, "play"] = contender.play.play
        times |= interleave(thunks, request.repeats, clock=clock)
    for contender in contenders.values():
        began = time.perf_counter()
        while not contender.play.returns().size and time.perf_counter() - began < request.budget_seconds:
            contender.play.draw()
            contender.play.play()
    return {env_id: _row(env_id, contender, times[env_id, "play"]) for env_id, contender in contenders.items()}


def _row(env_id: str, contender: Contender, times: Times) -> dict[str, Cell]:
    play = contender.play
    rates = Spread.of(play.steps * play.envs.num_envs / times)
    known = find_task(env_id).random_return
    row: dict[str, Cell] = {
        "env": env_id,
        "observations": space_text(play.envs.single_observation_space),
        "actions": space_text(play.envs.single_action_space),
        "stepped": contender.stepped,
        "n_envs": play.envs.num_envs,
        "clock": contender.clock,
        "repeats": rates.repeats,
        "known_random_return": None if known is None else float(f"{known:.6g}"),
    }
    returns = play.returns()
    if returns.size > 1:
        error = float(np.std(returns, ddof=1)) / math.sqrt(returns.size)
        row |= {
            "random_return": float(f"{returns.mean():.6g}"),
            "standard_error": float(f"{error:.3g}"),
            "episodes": returns.size,
        }
    return row | spread_cells("steps_per_second", rates)


def _table(request: EnvsBench) -> Table:
    table = Table(
        title=f"random actions, {request.n_envs} environments side by side, one process\n"
        "steps/s: median and quartiles; return: mean ± standard error, and the one that is known",
        title_justify="left",
    )
    table.add_column("env, spaces and how it is stepped", overflow="fold")
    for name in ("steps/s", "return", "known"):
        table.add_column(name, justify="right")
    return table


def _show(table: Table, row: Mapping[str, Cell]) -> None:
    def rate(part: str) -> str:
        return compact(float(row[f"steps_per_second_{part}"] or 0.0))

    env = Text(str(row["env"]), style="bold")
    env.append(f"\n{row['observations']} -> {row['actions']}, {row['stepped']} of {row['n_envs']}", style="not bold")
    speed = f"{rate('median')}\n{rate('q1')} to {rate('q3')}"
    known = row["known_random_return"]
    its_return = f"{row['random_return']:.4g}\n± {row['standard_error']:.2g}" if "random_return" in row else ""
    table.add_row(env, speed, its_return, "" if known is None else f"{known:.4g}")
