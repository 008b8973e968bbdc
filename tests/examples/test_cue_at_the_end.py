"""The example that measures what is left of a cue tells the layer that keeps it from those that scatter or drown it."""

from __future__ import annotations

from examples.cue_at_the_end import OPTIONS, main


def test_only_rectified_changes_without_rotation_keep_the_cue_apart() -> None:
    # Seen to fail it: the output of the first step; the same episodes for both cues.
    ratios = main(["--corridor-length", "200", "--seeds", "2"])
    kept = {name for name, (_, over_scatter) in ratios.items() if over_scatter > 10}
    assert kept == {name for name, options in OPTIONS.items() if "rectified" in options and "rotation" in options}
