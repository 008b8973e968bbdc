"""`s7rl train`: from a request to a run folder with a trained agent, its curve and its score."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from stable_baselines3.common.vec_env import VecEnv

from s7rl.agents import NumericalError, RecurrentPPO, VecScale
from s7rl.agents.distributed import rank, world_size
from s7rl.agents.threads import torch_threads
from s7rl.agents.vectorization import chosen_workers
from s7rl.envs import Task
from s7rl.envs.rewards import RewardError
from s7rl.experiments.building import MEMORY_REMEDY, build, make_evaluation_vec, ranks, step_limit
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.errors import TrainingError, memory_shortage
from s7rl.experiments.evaluation import Evaluation, evaluation_envs, play_episodes, scores_as_json
from s7rl.experiments.failures import environment_failures
from s7rl.experiments.interruption import STOPPING, Interruption, stop_on_signals
from s7rl.experiments.learning_curve import draw_learning_curve
from s7rl.experiments.progress import RunCallback, StopBetweenRollouts, StoppedBetweenRollouts
from s7rl.experiments.run_folder import RunFolder, create_run_folder, write_json
from s7rl.experiments.run_log import open_log
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.spaces import space_text
from s7rl.experiments.summary import next_commands, print_score, print_settings, verdict
from s7rl.experiments.tracking import Trackers, request_tracking, tracked
from s7rl.experiments.wording import program, say


def train(config: TrainConfig, settings: RunSettings, task: Task, command: Sequence[str], console: Console) -> int:
    """Trains, evaluates, and reports.

    Nothing is written before the environments and the network have been found to fit together.  Under torchrun this
    process learns together with the others, and only rank 0 shows, writes and evaluates.

    Args:
        config: the request.
        settings: what ``plan`` made of it.
        task: the task that it names.
        command: the words it was made of, for the run folder.
        console: where everything is shown.

    Returns:
        The exit code: 0, or 128 and the number of the signal that ended the training.

    Raises:
        UsageError: the request cannot be fulfilled.
        TrainingError: a number became nan or infinite, an environment failed, or a function of the user's did.
    """
    with ranks(settings.device):
        model, vec_env = build(settings)
        model.debug_anomalies = config.debug_anomalies
        if rank() > 0:
            return learn_along(model, vec_env, settings)
        chosen = chosen_workers(vec_env)
        if chosen is not None:
            # A trial may come out otherwise another time, and a run goes on in the same kind of environments only.
            settings = replace(settings, workers=chosen.workers)
        folder = create_run_folder(settings, command, out=config.out, runs=config.runs)
        request_tracking(folder, config.track)
        with folder.locked():
            return carry_out(model, vec_env, folder, settings, task, config.eval_episodes, console)


def carry_out(
    model: RecurrentPPO,
    vec_env: VecEnv,
    folder: RunFolder,
    settings: RunSettings,
    task: Task,
    eval_episodes: int,
    console: Console,
) -> int:
    """Trains an agent for the steps that it has not done yet, evaluates it, and reports.

    Args:
        model: the agent, new or resumed.
        vec_env: its environments; they are closed at the end.
        folder: where everything is written.
        settings: what the run is to do.
        task: the task that the settings name.
        eval_episodes: episodes of the evaluation; 0 skips it.
        console: where everything is shown.

    Returns:
        The exit code: 0, or 128 and the number of the signal that ended the training.

    Raises:
        UsageError: a tracker cannot begin.
        TrainingError: as ``train``.
    """
    _introduce(console, settings, task, model, vec_env, folder)
    steps_before = model.num_timesteps
    with (
        closing(vec_env),
        stop_on_signals(STOPPING) as interruption,
        tracked(folder, settings, lambda line: say(console, line), lambda: interruption.exit_code) as trackers,
    ):
        seconds = _learn(model, settings, folder, trackers, console, interruption)
        _draw(folder, settings, task)
        evaluation = None
        if eval_episodes and not interruption.requested:
            evaluation = _evaluate(model, settings, folder, eval_episodes, interruption)
        if evaluation is not None:
            score = {f"evaluation/{key}": value for key, value in evaluation.as_json().items()}
            trackers.log(score, model.num_timesteps)
        if interruption.requested:
            _say_where(console, folder)
            return interruption.exit_code
    if evaluation is not None:
        new_steps = model.num_timesteps - steps_before
        _report(console, evaluation, task, settings, model.num_timesteps, new_steps, seconds, folder)
    say(console, next_commands(folder.path))
    return 0


def evaluate_agent(
    model: RecurrentPPO,
    settings: RunSettings,
    checkpoint: Path,
    episodes: int,
    *,
    seed: int,
    batches: int = 1,
    max_steps: int | None = None,
    **options: Any,
) -> tuple[Evaluation, ...]:
    """Plays episodes of the run's task, with observations scaled as in the checkpoint.

    Args:
        model: the agent.
        settings: the run's settings, for the task.
        checkpoint: gives the statistics of VecNormalize, where the run used it.
        episodes: how many in each batch.
        seed: of the first environment; every other one has the next.
        batches: evaluations side by side.
        max_steps: of an episode; None: the environment's own limit, or one that only episodes without an end reach.
        options: go to ``play_episodes``.

    Returns:
        What each batch got; nothing where it was stopped.

    Raises:
        UsageError: its environments cannot be made, or are not what it was trained in.
    """
    vec_env = make_evaluation_vec(settings, model, checkpoint, batches * evaluation_envs(episodes), seed, max_steps)
    with closing(vec_env), torch_threads(model.acting_threads):
        limit = step_limit(settings, max_steps)
        return play_episodes(model, vec_env, episodes, batches=batches, limit=limit, **options)


def learn_along(model: RecurrentPPO, vec_env: VecEnv, settings: RunSettings) -> int:
    """What the ranks behind the first do: learn with it, in silence; returns the exit code."""
    with stop_on_signals() as interruption:
        callback = StopBetweenRollouts(stop=lambda: interruption.requested)
        try:
            with memory_shortage(MEMORY_REMEDY), environment_failures(lambda: f"that was rank {rank()}"):
                model.learn(_steps_left(model, settings), callback=callback, reset_num_timesteps=False)
        except StoppedBetweenRollouts:
            pass
        except KeyboardInterrupt:
            return interruption.exit_code
        except (NumericalError, RewardError) as error:
            raise TrainingError(f"rank {rank()}: {error}") from error
    vec_env.close()
    return interruption.exit_code


def _learn(
    model: RecurrentPPO,
    settings: RunSettings,
    folder: RunFolder,
    trackers: Trackers,
    console: Console,
    interruption: Interruption,
) -> float:
    """Trains until the steps are done or a signal comes, and saves; returns the seconds it took."""
    logger, best_return = open_log(folder, model.num_timesteps, trackers)
    model.set_logger(logger)
    callback = RunCallback(
        folder=folder,
        settings=settings,
        best_return=best_return,
        console=console,
        stop=lambda: interruption.requested,
    )
    try:
        with memory_shortage(MEMORY_REMEDY), environment_failures(lambda: _what_is_left(folder)):
            model.learn(_steps_left(model, settings), callback=callback, reset_num_timesteps=False)
    except StoppedBetweenRollouts:
        pass  # The callback has saved.
    except KeyboardInterrupt:
        pass  # The second Ctrl-C: the model may be in the middle of an update, so the last checkpoint stands.
    except RewardError as error:
        raise TrainingError(f"{str(error).removesuffix('.')}; {_what_is_left(folder)}") from error
    except NumericalError as error:
        # No way to go on: it would come to the same.
        raise TrainingError(f"{error} The agent as it was before that is in {folder.latest}") from error
    except BrokenPipeError:
        # Nobody reads the progress any more; what was learned is kept all the same.
        model.save(folder.latest)
        raise
    else:
        with interruption.protected():
            model.save(folder.latest, resumable=True)
    finally:
        callback.close()
        model.logger.close()
    return callback.seconds


def _what_is_left(folder: RunFolder) -> str:
    go_on = f"{program('s7rl')} resume {quote(str(folder.path))}"
    if not folder.latest.is_file():  # It failed at the first reset.
        return f"nothing had been learned yet, to begin: {go_on}"
    return f"the last checkpoint is {folder.latest}, to go on from it: {go_on}"


def _steps_left(model: RecurrentPPO, settings: RunSettings) -> int:
    # None where only the evaluation is missing: a training ends with a whole rollout, perhaps beyond its steps.
    return max(0, settings.steps - model.num_timesteps)


def _evaluate(
    model: RecurrentPPO, settings: RunSettings, folder: RunFolder, episodes: int, interruption: Interruption
) -> Evaluation | None:
    seed = settings.evaluation_seed
    try:
        with environment_failures(lambda: f"the agent is trained, and in {folder.latest}"):
            evaluations = evaluate_agent(
                model, settings, folder.latest, episodes, seed=seed, stop=lambda: interruption.requested
            )
    except KeyboardInterrupt:
        return None
    for evaluation in evaluations:
        write_json(folder.evaluation, scores_as_json({"deterministic": evaluations}, [seed], "latest"))
        return evaluation
    return None


def _introduce(
    console: Console, settings: RunSettings, task: Task, model: RecurrentPPO, vec_env: VecEnv, folder: RunFolder
) -> None:
    normalizer = model.get_vec_normalize_env()
    observations = "observations (mean kept)" if isinstance(normalizer, VecScale) else "observations"
    scales = {} if normalizer is None else {observations: normalizer.norm_obs, "rewards": normalizer.norm_reward}
    print_settings(
        console,
        settings,
        task,
        spaces=f"observations {space_text(vec_env.observation_space)}, actions {space_text(vec_env.action_space)}",
        scaled=[name for name, wanted in scales.items() if wanted],
        parameters=sum(parameter.numel() for parameter in model.policy.parameters()),
        threads=model.threads,
        device=f"{model.device}, in each of {world_size()} processes" if world_size() > 1 else str(model.device),
        folder=folder.path,
        steps_done=model.num_timesteps,
    )
    chosen = chosen_workers(vec_env)
    if chosen is not None:
        say(console, f"envs     {vec_env.num_envs} side by side, {chosen}")


def _draw(folder: RunFolder, settings: RunSettings, task: Task) -> None:
    title = f"{settings.task_name}, agent {settings.agent}, seed {settings.seed}"
    draw_learning_curve(folder.progress, folder.learning_curve, task=task, title=title)


def _report(
    console: Console,
    evaluation: Evaluation,
    task: Task,
    settings: RunSettings,
    steps: int,
    new_steps: int,
    seconds: float,
    folder: RunFolder,
) -> None:
    facts = {
        "training": f"{new_steps:,} steps in {seconds:.0f} s, {new_steps / max(seconds, 1e-9):,.0f} steps/s"
        + (f"; {steps:,} in all" if new_steps < steps else ""),
        "run": str(folder.path),
        "learning curve": folder.learning_curve.name,
    }
    print_score(console, evaluation, task, facts)
    say(
        console, verdict(evaluation, task, settings, run=folder.path, command=folder.command, steps=steps), style="bold"
    )


def _say_where(console: Console, folder: RunFolder) -> None:
    say(console, f"interrupted; the agent is in {folder.latest}")
    say(console, next_commands(folder.path, interrupted=True))
