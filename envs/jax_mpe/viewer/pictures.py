"""Pictures and animations as objects of Matplotlib, and as files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..drawables import Drawable
from ..paths import expanded
from .recording import Recording
from .stage import Stage

_HOLD = 5  # moments for which an animation rests at its end


def draw(task: Drawable, recording: Recording, moment: int = -1) -> Figure:
    """One moment, with the trails that lead to it.

    Args:
        task: whose states these are.
        recording: what to draw; the axes hold all of its moments.
        moment: counted from 0, or from the end if negative.

    Raises:
        ValueError: for a part of the recording that fits neither the task nor the other parts.
        IndexError: for a moment that there is not.
    """
    stage = Stage(task, recording)
    stage.show(range(stage.moments)[moment])
    return stage.figure


def animate(task: Drawable, recording: Recording, interval: int = 200) -> FuncAnimation:
    """All moments in turn, `interval` milliseconds each, resting at the end. Raises as `draw`."""
    stage = Stage(task, recording)
    frames = [*range(stage.moments), *[stage.moments - 1] * _HOLD]
    return FuncAnimation(stage.figure, stage.show, frames, init_func=list, interval=interval)


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """The picture as RGBA values, [height, width, 4]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def save_picture(
    figure: Figure, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a picture, in the format that its name ends in; its folder is made if need be.

    Args:
        path: may begin with ``~``.
        metadata: words to write into it, such as ``Software`` in a PNG.

    Raises:
        ValueError: in one line, for the home folder of nobody.
    """
    target = expanded(path)
    with _whole(target) as partial:
        figure.savefig(partial, format=partial.suffix[1:] or "png", dpi=160, metadata=metadata)
    return target


def save_animation(
    animation: FuncAnimation, path: str | os.PathLike[str], interval: int = 200
) -> Path:
    """Write a .gif, or an .mp4 where ffmpeg is installed; its folder is made if need be.

    Raises:
        ValueError: in one line, for any other name, for an .mp4 without ffmpeg, or for the home folder of nobody.
    """
    target = expanded(path)
    writers: dict[str, Any] = {".gif": PillowWriter, ".mp4": FFMpegWriter}
    writer = writers.get(target.suffix.lower())
    if writer is None:
        raise ValueError(f"an animation's name must end in .gif or .mp4, unlike {target.name!r}")
    if not writer.isAvailable():
        raise ValueError(f"{target.name} needs ffmpeg on the PATH; install it, or write a .gif")
    with _whole(target) as partial:
        # Pillow joins the identical frames at the end into one that is shown for longer.
        animation.save(partial, writer=writer(fps=1000 / interval), dpi=100)
    return target


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A name to write to, moved to `target` at the end: an interrupted write leaves no torn file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
