"""Pictures one after another, as a file: MP4 (H.264) by PyAV, GIF by Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from s7rl.experiments.errors import UsageError
from s7rl.files import write_atomically

GIF_FPS = 50
"""Pictures per second that a GIF is shown with at most; players slow down what claims more."""


def check_film(file: str, fps: float) -> None:
    """Raises UsageError where such a film cannot be written, before anything is played."""
    suffix = Path(file).suffix.lower()
    if suffix not in (".mp4", ".gif"):
        raise UsageError(f"--video {file} must end in .mp4 or .gif")
    if suffix == ".gif" and fps > GIF_FPS:
        raise UsageError(f"--fps {fps:g} is more than a GIF can show: give --fps {GIF_FPS} or less, or a file.mp4")
    if suffix == ".mp4":
        try:
            import av  # noqa: F401 (whether it is there)
        except ImportError as error:
            raise UsageError(
                f"--video {file} needs PyAV, which is not installed: pip install 's7rl[video]', or give a file.gif"
            ) from error


def write_film(path: Path, pictures: Iterable[UInt8[np.ndarray, "height width 3"]], fps: float) -> int:
    """Writes pictures of one size, even in both directions, as a film.

    The file is complete or not there.

    Args:
        path: ends in .mp4 or .gif; a GIF repeats for ever.
        pictures: one at least; they are asked for one by one.
        fps: how many are shown per second.

    Returns:
        How many there were.
    """
    count = 0

    def counted() -> Iterator[NDArray[np.uint8]]:
        nonlocal count
        for picture in pictures:
            count += 1
            yield picture

    encode = _mp4 if path.suffix.lower() == ".mp4" else _gif
    write_atomically(path, encode(counted(), fps))
    return count


def _gif(pictures: Iterator[NDArray[np.uint8]], fps: float) -> bytes:
    images = map(Image.fromarray, pictures)
    content = io.BytesIO()
    # A GIF counts in hundredths of a second, Pillow in thousandths.
    duration = 10 * round(100 / fps)
    next(images).save(content, "GIF", save_all=True, append_images=images, duration=duration, loop=0)
    return content.getvalue()


def _mp4(pictures: Iterator[NDArray[np.uint8]], fps: float) -> bytes:
    import av

    first = next(pictures)
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, _ = first.shape
        stream.pix_fmt = "yuv420p"  # what every player can show; it halves the colours' resolution: even sizes
        for picture in chain([first], pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return content.getvalue()
