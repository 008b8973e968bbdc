"""S7 among TorchRL's modules: skipped where TorchRL is not installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("torchrl", reason="TorchRL is not installed: pip install 's7rl[torchrl]'")
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torchrl.envs import GymEnv, InitTracker, StepCounter, TransformedEnv
from torchrl.modules import GRUModule, set_recurrent_mode
from torchrl.modules.utils import get_primers_from_module

from s7rl import make_core
from s7rl.agents.torchrl import S7Module


def module(**options: Any) -> S7Module:
    torch.manual_seed(0)
    return S7Module(3, d_model=8, d_state=4, **{"in_key": "observation", "out_key": "features", **options})


def sequences(*shape: int) -> TensorDict:
    """Observations in which episodes begin anywhere, and a state from before."""
    generator = torch.Generator().manual_seed(1)
    return TensorDict(
        {
            "observation": torch.randn(*shape, 3, generator=generator),
            "is_init": torch.rand(*shape, 1, generator=generator) < 0.3,
            "recurrent_state": torch.randn(*shape, module().core.state_size, generator=generator),
        },
        batch_size=shape,
    )


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6)])
def test_a_sequence_in_recurrent_mode_is_its_steps_one_by_one(shape: tuple[int, ...]) -> None:
    # Seen to fail it: is_init not transposed with the features; the state of the last step taken for the first;
    # step that ignores is_init.
    one, data = module(), sequences(*shape)
    with set_recurrent_mode(True):
        whole = one(data.clone())
    state = data["recurrent_state"][..., 0, :]
    for t in range(6):
        step = one(data[..., t].clone().set("recurrent_state", state))
        state = step["next", "recurrent_state"]
        torch.testing.assert_close(step["features"], whole["features"][..., t, :])
    torch.testing.assert_close(state, whole["next", "recurrent_state"][..., -1, :])
    assert not whole["next", "recurrent_state"][..., :-1, :].any()
    whole["features"].sum().backward()
    assert all(parameter.grad is not None for parameter in one.parameters())


def test_what_an_environment_recorded_step_by_step_is_what_learning_sees() -> None:
    # Seen to fail it: a primer of another key.
    one = module()
    head = TensorDictModule(torch.nn.Linear(8, 1), in_keys=["features"], out_keys=["action"])
    policy = TensorDictSequential(one, head)
    env = TransformedEnv(GymEnv("Pendulum-v1"), InitTracker())
    env.append_transform(StepCounter(4))
    env.append_transform(get_primers_from_module(policy))
    with torch.no_grad():
        played = env.rollout(10, policy, break_when_any_done=False)
    assert played["is_init"].flatten().nonzero().flatten().tolist() == [0, 4, 8]
    assert not played["recurrent_state"][4].any()
    assert played["recurrent_state"][5].any()
    with set_recurrent_mode(True):
        learned = policy(played.select("observation", "is_init", "recurrent_state").clone())
    torch.testing.assert_close(learned["action"], played["action"])


def test_it_goes_by_the_same_keys_and_shapes_as_torchrls_gru() -> None:
    # Seen to fail it: features and state written the other way round.
    keys: dict[str, Any] = {"in_keys": ["observation", "rs"], "out_keys": ["features", ("next", "rs")]}
    ours, theirs = S7Module(3, 8, d_state=4, **keys), GRUModule(3, 8, **keys)
    assert (ours.in_keys, ours.out_keys) == (theirs.in_keys, theirs.out_keys)
    for mode in (False, True):
        with set_recurrent_mode(mode):
            assert ours.recurrent_mode == theirs.recurrent_mode == mode
            data = sequences(5).select("observation", "is_init")
            one, other = ours(data.clone()), theirs(data.clone())
        assert one["features"].shape == other["features"].shape
        assert one["next", "rs"].shape[:1] == other["next", "rs"].shape[:1]


def test_it_is_called_by_tensors_too_and_takes_any_core_and_a_mode_of_its_own() -> None:
    # Seen to fail it: a default mode that is forgotten; is_init[..., 0] in place of reshape.
    torch.manual_seed(0)
    core = make_core("gru", d_model=8)
    one = S7Module(3, 8, core, in_key="observation", out_key="features", default_recurrent_mode=True)
    data = sequences(2, 6)
    state = torch.zeros(2, 6, core.state_size)
    for is_init in (data["is_init"], data["is_init"].squeeze(-1)):
        features, _ = one(observation=data["observation"], is_init=is_init, recurrent_state=state)
        x = one.embed(data["observation"]).transpose(0, 1)
        expected, _ = core.scan(x, state[:, 0], data["is_init"].squeeze(-1).T)
        torch.testing.assert_close(features, expected.transpose(0, 1))


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_keys": ["a", "b"]}, "in_key is 'observation' and in_keys .*: pass one of the two"),
        ({"out_key": None}, "out_key is None and out_keys None: pass one of the two"),
        ({"in_key": None, "in_keys": ["a"]}, "in_keys names 1 entries, .*: pass the features' and the state's"),
        ({"core": make_core("gru", d_model=8)}, "core is built already, with width 8"),
    ],
)
def test_keys_and_cores_that_do_not_fit_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}[^\n]*$"):
        module(**options)


@pytest.mark.usefixtures("as_users_run_it")
def test_a_state_that_the_next_step_would_not_find_and_a_sequence_without_time_are_one_line() -> None:
    lost = module(out_key=None, out_keys=["features", "state"])
    with pytest.raises(ValueError, match=r"^[^\n]*where the next step does not find it: name \('next', [^\n]*$"):
        lost.make_tensordict_primer()
    with (
        set_recurrent_mode(True),
        pytest.raises(ValueError, match=r"^the tensordict has no dimension, [^\n]*pass a sequence[^\n]*$"),
    ):
        module()(sequences(1)[0])


def test_an_entry_that_is_missing_is_named() -> None:
    # Seen to fail it: an entry asked for by get(), of which None has no shape.
    for key in ("observation", "is_init"):
        with pytest.raises(KeyError, match=key):
            module()(sequences(1).exclude(key))
