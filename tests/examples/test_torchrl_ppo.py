"""The example of TorchRL runs: skipped where that is not installed."""

from __future__ import annotations

import pytest

pytest.importorskip("torchrl", reason="TorchRL is not installed: pip install 's7rl[torchrl]'")


# TorchRL's own, of its classes, at import.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_collects_and_learns() -> None:
    # Seen to fail it: the estimate without deactivate_vmap.
    from examples.torchrl_ppo import main

    assert 8 < main(["--frames", "512", "--frames-per-batch", "256", "--sequence", "64", "--d-model", "8"]) < 60
