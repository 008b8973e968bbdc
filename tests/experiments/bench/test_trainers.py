"""Whole trainers as they are measured: the same steps, minibatches and passes for all, and products that are counted.

Mutations that were seen to fail these tests: n_epochs or batch_size left to each trainer's default; a step size above
0; a corridor that is one longer; the last head not counted; 16 environments in tmaze-50, or in the presets' settings;
modes for a core that has none; a probe that asks for an attribute that it lacks; a shared LSTM with hidden layers
behind it, or with a second LSTM for the critic; S7 with the size of s7-small.
"""

import pickle
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from s7rl.cores.dense import Linear
from s7rl.experiments.bench.train import SETTINGS
from s7rl.experiments.bench.trainers import (
    MINIBATCHES,
    N_EPOCHS,
    PRODUCTS,
    SB3,
    SB3_CONTRIB,
    SHARED,
    ProductRounds,
    RoundProbe,
    Setting,
    Trainer,
    TrainerRounds,
    dense_layers,
    make_rounds,
    trainer_of,
)
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.plan import plan

TINY = Setting.tmaze(n_steps=16, n_envs=4, episode=10)
S7 = trainer_of("s7", 8, 8)
EVERY = [S7, trainer_of("gru", 8, 8), *(Trainer(name=name, d_model=8) for name in (SB3_CONTRIB, SHARED, SB3))]


def test_a_core_has_the_size_of_the_agent_that_is_named_like_it() -> None:
    assert (trainer_of("s7", 64, None).d_state, trainer_of("mamba", 64, None).d_state) == (128, 16)


@pytest.mark.parametrize("trainer", EVERY, ids=str)
def test_all_trainers_take_the_same_steps_and_make_the_same_updates(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = TrainerRounds(TINY, trainer)
    algorithm = rounds.algorithm
    assert algorithm.env is not None
    steps, updates, seen = 0, 0, 0
    step_wait, evaluate = algorithm.env.step_wait, algorithm.policy.evaluate_actions

    def count_step() -> Any:
        nonlocal steps
        steps += TINY.n_envs
        return step_wait()

    def count_update(*_: object) -> None:
        nonlocal updates
        updates += 1

    def count_seen(*args: Any) -> Any:
        nonlocal seen
        result = evaluate(*args)
        seen += args[1].numel()
        return result

    monkeypatch.setattr(algorithm.env, "step_wait", count_step)
    monkeypatch.setattr(algorithm.policy, "evaluate_actions", count_seen)
    algorithm.policy.optimizer.register_step_post_hook(count_update)
    rounds.rollout()
    assert steps == algorithm.num_timesteps == 64
    rounds.train()
    assert updates == 16
    # sb3-contrib pads sequences, and sees more.
    assert seen >= 4 * 64 if trainer.name in (SB3_CONTRIB, SHARED) else seen == 4 * 64
    assert algorithm.policy.optimizer.param_groups[0]["lr"] == 0


@pytest.mark.parametrize("trainer", EVERY, ids=str)
def test_the_policy_stays_random_so_that_all_episodes_have_the_length_that_was_asked_for(trainer: Trainer) -> None:
    rounds = TrainerRounds(Setting.tmaze(n_steps=104, n_envs=4, episode=50), trainer)
    before = {name: value.clone() for name, value in rounds.algorithm.policy.state_dict().items()}
    rounds.rollout()
    rounds.train()
    assert rounds.algorithm.ep_info_buffer is not None
    assert [episode["l"] for episode in rounds.algorithm.ep_info_buffer] == 8 * [50]
    after = rounds.algorithm.policy.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_shared_network_of_sb3_contrib_is_one_lstm_with_the_two_heads_right_behind_it() -> None:
    # Observations have 4 numbers, and there are 4 actions. An LSTM of width 8 has four gates of (4 + 8) x 8 weights and
    # two biases.
    lstm = 4 * 8 * (4 + 8 + 2)
    assert TrainerRounds(TINY, Trainer(name=SHARED, d_model=8)).parameters == lstm + (8 + 1) * 4 + (8 + 1)
    # As it comes: two LSTMs, and two hidden layers of width 8 behind each.
    hidden = 2 * (8 + 1) * 8
    assert TrainerRounds(TINY, Trainer(name=SB3_CONTRIB, d_model=8)).parameters == 2 * (lstm + hidden) + 9 * 4 + 9


def test_the_products_have_the_flops_of_the_layers_by_hand_and_as_torch_counts_them() -> None:
    # 8 modes, 4 of which rotate, are 12 numbers. Selection: 8 for A, 8 for B, 12 for C and 8 for D.
    selection, read, written, gate, heads = 8 * (8 + 8 + 12 + 8), 8 * 12, 12 * 8, 8 * 8, 8 * 4 + 8
    weights = selection + read + written + gate + heads
    assert weights == 584
    products = make_rounds(TINY, Trainer(name=PRODUCTS, d_model=8, d_state=8), "cpu")
    assert isinstance(products, ProductRounds)
    forward = 2 * weights * 64
    assert counted(products.rollout) == forward
    assert counted(products.train) == 4 * 3 * forward


def test_the_products_are_all_that_our_trainer_multiplies_while_it_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S7RL_SCAN", "torch")  # torch does not count what is multiplied in a kernel of ours
    rounds = TrainerRounds(TINY, S7)
    products = ProductRounds(dense_layers(rounds.algorithm.policy), TINY)
    # Acting also values the observations at the ends of episodes and of the rollout.
    assert counted(rounds.rollout) >= counted(products.rollout)
    assert counted(rounds.train) == counted(products.train)


def counted(thunk: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        thunk()
    flops: int = counter.get_total_flops()
    return flops


def test_products_come_in_the_shapes_of_acting_and_of_minibatches_and_keep_nothing() -> None:
    products = make_rounds(TINY, Trainer(name=PRODUCTS, d_model=8, d_state=8), "cpu")
    assert isinstance(products, ProductRounds)
    rows: list[int] = []
    for layer in products.layers:
        layer.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    products.rollout()
    assert rows == 16 * 6 * [4]
    rows.clear()
    products.train()
    assert rows == N_EPOCHS * MINIBATCHES * 6 * [16]
    assert all(layer.weight.grad is None for layer in products.layers)


def test_the_products_are_multiplied_by_what_multiplies_them_in_the_network_while_it_learns() -> None:
    layers = dense_layers(TrainerRounds(TINY, S7).algorithm.policy)
    products = ProductRounds(layers, TINY)
    assert [type(layer) for layer in products.layers] == [type(layer) for layer in layers]
    assert Linear in map(type, layers)
    assert layers[-1].bias is not None, "the network keeps its own"


def test_the_settings_are_the_ones_that_are_promised() -> None:
    mazes = {"tmaze-100": (128, 8, 49), "tmaze-500": (512, 8, 249), "tmaze-50": (256, 32, 24)}
    for name, sizes in (mazes | {"tmaze-1000": (2048, 16, 499)}).items():
        (setting,) = SETTINGS[name]
        assert (setting.n_steps, setting.n_envs, setting.corridor_length) == sizes
        assert setting.batch_size * 4 == setting.steps
        assert setting.batch_size % setting.n_steps == 0, "whole rows"
    for name, env_id in (("minigrid", "MiniGrid-MemoryS13-v0"), ("cartpole", "s7rl/CartPolePositionOnly-v0")):
        (setting,) = SETTINGS[name]
        settings, _ = plan(TrainConfig(env=env_id))
        assert (setting.env_id, setting.n_steps, setting.n_envs) == (env_id, settings.n_steps, settings.n_envs)
    assert [(its.n_steps, its.n_envs) for its in SETTINGS["flat"]] == [(128, 512), (512, 128), (2048, 32), (8192, 8)]
    assert [(its.n_steps, its.n_envs) for its in SETTINGS["memory"]] == [(128, 8), (512, 8), (2048, 8), (8192, 8)]


def test_a_trainer_has_the_modes_of_its_preset_unless_told_otherwise() -> None:
    assert trainer_of("mamba", 64, None) == Trainer(name="mamba", d_model=64, d_state=16)
    assert trainer_of("mamba", 64, 8) == Trainer(name="mamba", d_model=64, d_state=8)
    assert trainer_of("gru", 64, 8) == Trainer(name="gru", d_model=64)
    assert [str(trainer_of("mamba", 64, modes)) for modes in (None, 8)] == ["mamba", "mamba, 8 modes"]


def test_a_probe_crosses_to_another_process_and_runs_there() -> None:
    probe = RoundProbe(setting=TINY, trainer=S7, device="cpu", threads=1, memory_bytes=10**9, budget_seconds=1.0)
    copy = pickle.loads(pickle.dumps(probe))
    assert copy == probe
    copy.warm_up()
    copy.make()()
