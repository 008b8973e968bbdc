"""sb3-contrib's names for its LSTM policies, so that a script written for its RecurrentPPO runs here.

"MlpLstmPolicy", "CnnLstmPolicy" and "MultiInputLstmPolicy" become "MlpPolicy", "CnnPolicy" and "MultiInputPolicy" with
``core="lstm"``, and their keyword arguments become ours.  The network is not the same to the letter: an encoder stands
before each LSTM and a residual block around it.
"""

from collections.abc import Mapping
from typing import Any

from s7rl.agents.arguments import LSTM_ARGUMENTS, check_given
from s7rl.checks import shown

LSTM_POLICIES = {
    "MlpLstmPolicy": "MlpPolicy",
    "CnnLstmPolicy": "CnnPolicy",
    "MultiInputLstmPolicy": "MultiInputPolicy",
}
_RENAMED = {"lstm_hidden_size": "d_model", "n_lstm_layers": "n_blocks", "lstm_kwargs": "core_kwargs"}
_OF_TORCH: Mapping[str, Any] = {"bias": True, "dropout": 0.0, "bidirectional": False, "proj_size": 0}
"""Options of ``torch.nn.LSTM`` that our LSTM has not, as they are where it is asked for none of them."""


def from_lstm_policy(policy: str, policy_kwargs: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """The policy and its keyword arguments in our words.

    sb3-contrib's defaults hold: 256 features, one layer, an LSTM for the critic, and two hidden layers of 64 after each
    (none after a CNN).

    Args:
        policy: one of ``LSTM_POLICIES``.
        policy_kwargs: those of sb3-contrib's policies, ``lstm_hidden_size``, ``n_lstm_layers``, ``shared_lstm``,
            ``enable_critic_lstm``, ``lstm_kwargs``, and any of ours.

    Raises:
        TypeError: if one of them is of the wrong kind.
        ValueError: if one is out of range, the critic is to have an LSTM that is shared and one of its own, or
            ``lstm_kwargs`` asks for what our LSTM has not.
    """
    check_given(policy_kwargs or {}, LSTM_ARGUMENTS)
    given = {_RENAMED.get(name, name): value for name, value in (policy_kwargs or {}).items()}
    if policy_kwargs and policy_kwargs.get("lstm_kwargs"):
        given["core_kwargs"] = _without_those_of_torch(policy_kwargs["lstm_kwargs"])
    shared, separate = given.pop("shared_lstm", False), given.pop("enable_critic_lstm", True)
    if shared and separate:
        raise ValueError(
            "shared_lstm and enable_critic_lstm are both True, but the critic has one LSTM: pass "
            "enable_critic_lstm=False with shared_lstm=True."
        )
    defaults: dict[str, Any] = {
        "core": "lstm",
        "d_model": 256,
        "critic_core": "shared" if shared else "separate" if separate else "none",
    }
    if policy != "CnnLstmPolicy":
        defaults["net_arch"] = {"pi": [64, 64], "vf": [64, 64]}
    return LSTM_POLICIES[policy], {**defaults, **given}


def _without_those_of_torch(lstm_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    for name, default in _OF_TORCH.items():
        if lstm_kwargs.get(name, default) != default:
            raise ValueError(
                f"lstm_kwargs holds {name}={shown(lstm_kwargs[name])}, but the LSTM here knows {name}={default} only: "
                "leave it out."
            )
    # Which axis is the batch is no matter of the result.
    return {name: value for name, value in lstm_kwargs.items() if name not in (*_OF_TORCH, "batch_first")}
