"""The example of S7 in RLlib runs as it stands, with fewer steps: skipped where RLlib is not installed.

Mutation tried, which fails the test here: no max_seq_len in the example.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "rllib_s7.py"


@pytest.mark.slow
def test_s7_trains_in_rllibs_ppo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # workers look into this folder first, and the tree's has an s7rl without agents
    pytest.importorskip("ray.rllib", reason="RLlib is not installed: pip install 's7rl[rllib]'")
    main = runpy.run_path(str(EXAMPLE))["main"]
    assert -5.0 < main(iterations=1, corridor_length=3, batch_size=1024) <= 1.0
