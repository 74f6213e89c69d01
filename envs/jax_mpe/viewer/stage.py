"""A figure on which any moment of an episode can be shown.

Matplotlib is used through its objects only: no pyplot, no global state, no display. Shapes: M
moments (states), N agents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, Polygon, Rectangle
from matplotlib.path import Path as MplPath
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from numpy.typing import NDArray

from ..drawables import Claim, Disc, Drawable, Fill, Scene
from ..paths import written_out
from .arrows import arrow, head
from .recording import Recording

_WIDTH, _HEIGHT, _SIDE, _FOOT = 4.8, 5.44, 4.6, 0.32  # inches; the side is that of the world
_INK, _FAINT = "#222222", "#5f5f5f"
_AS_IT_IS: dict[str, Any] = {"parse_math": False}  # names are data: two $ of them make no formula


class Stage:
    """A figure of a recording, on which any of its moments can be shown."""

    def __init__(self, task: Drawable, recording: Recording) -> None:
        recording = recording.checked(task)
        self._steps, self._horizon = np.asarray(recording.states.step_count), task.horizon
        self._edges, self._rewards = recording.edges, recording.rewards
        self._scene = task.scene(recording.states, recording.actions)
        # A round of a toy is over when it is answered: there is no end to show.
        self.moments = min([len(self._steps), *(len(claim.track) for claim in self._scene.claims)])
        busiest = 0 if self._edges is None else self._edges.sum((1, 2)).max()
        self._crowd = float(np.clip((busiest - 12) / 100, 0, 1))  # many arrows are drawn lighter
        self._passing: list[Artist] = []  # of the moment that is shown
        self._set_up(written_out(recording.title or task.name))

    def _set_up(self, title: str) -> None:
        self.figure = Figure(figsize=(_WIDTH, _HEIGHT), facecolor="white")
        FigureCanvasAgg(self.figure)
        left = (_WIDTH - _SIDE) / 2
        box = np.array((left, _FOOT, _SIDE, _SIDE)) / (_WIDTH, _HEIGHT, _WIDTH, _HEIGHT)
        self._axes = axes = self.figure.add_axes(tuple(box), facecolor="#efefef")
        (x, y), reach = _view(self._scene)
        axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), xticks=(), yticks=())
        axes.spines[:].set_visible(False)
        self._point = 2 * reach / (72 * _SIDE)  # a typographic point, in units of length
        half = self._scene.half_width
        axes.add_patch(
            Rectangle((-half, -half), 2 * half, 2 * half, facecolor="white", edgecolor="0.75")
        )
        self._bodies = [self._enter(disc) for disc in self._scene.discs]
        top, line = 1 - 0.1 / _HEIGHT, 0.2 / _HEIGHT

        def text(x: float, y: float, **look: Any) -> Any:
            look |= {"va": "top", "fontsize": 9.5, "color": _INK, **_AS_IT_IS}
            return self.figure.text(x, y, "", **look)

        text(box[0], top, weight="bold").set_text(title)
        right = box[0] + box[2]
        self._clock = text(right, top, ha="right")
        self._reward = text(box[0], top - line)
        self._rate = text(right, top - line, ha="right")
        self._legend()

    def _legend(self) -> None:
        shown = {disc.role: disc for disc in reversed(self._scene.discs) if disc.role}
        handles: list[Any] = [_key(disc) for disc in reversed(shown.values())]
        labels = list(reversed(shown))
        if self._scene.claims:
            handles.append(Line2D([], [], color=_FAINT, marker="x", linewidth=0.8))
            labels.append("action")
        if self._edges is not None:
            look: dict[str, Any] = {"marker": r"$\rightarrow$", "markersize": 13, "linestyle": ""}
            handles.append(Line2D([], [], color=_INK, markeredgewidth=0.3, **look))
            labels.append("message")
        legend = self.figure.legend(
            handles, labels, loc="lower center", ncols=len(handles), fontsize=8.5, frameon=False,
            handletextpad=0.25, columnspacing=1.1, borderaxespad=0.1, bbox_to_anchor=(0.5, 0),
        )  # fmt: skip
        for text in legend.get_texts():
            text.set(**_AS_IT_IS)

    def show(self, moment: int) -> list[Artist]:
        """Draw a moment in place of the one that was shown."""
        while self._passing:
            self._passing.pop().remove()
        for disc, (circle, label) in zip(self._scene.discs, self._bodies, strict=True):
            circle.set_center(disc.track[moment])
            if label is not None:
                label.xy = disc.track[moment]
            if disc.fill is Fill.CROSSED:
                self._cross(disc, moment)
            if disc.trail:
                self._trail(disc, moment)
        for claim in self._scene.claims:
            self._claim(claim, moment)
        mask = None
        if self._edges is not None and moment < len(self._edges):
            mask = self._edges[moment] * (1 - np.eye(len(self._edges[moment])))
            self._arrows(mask, moment)
        self._tell(moment, mask)
        return self._passing

    def _enter(self, disc: Disc) -> tuple[Circle, Annotation | None]:
        width, order = {  # small bodies lie on top of large ones, and all on the arrows' shafts
            Fill.PALE: (1.5, 4),
            Fill.SOLID: (0.8, 5),
            Fill.HATCHED: (1, 3),
            Fill.CROSSED: (1.5, 2.5),
            Fill.RING: (2.2, 3.5),
        }[disc.fill]
        circle = Circle(
            disc.track[0], disc.radius, facecolor=_face(disc), edgecolor=disc.colour,
            linewidth=width, zorder=order, hatch="////" if disc.fill is Fill.HATCHED else None,
        )  # fmt: skip
        self._axes.add_patch(circle)
        return circle, self._label(disc) if disc.label else None

    def _label(self, disc: Disc) -> Annotation:
        """Inside the disc if it can be read there, beside it otherwise."""
        longest = max(len(other.label) for other in self._scene.discs)  # all of one size
        radius = disc.radius / self._point
        size = min(11.0, 1.5 * radius / max(0.62 * longest, 0.8))
        inside = size >= 6
        away = 0 if inside else 0.72 * radius + 1.5
        return self._axes.annotate(
            disc.label, disc.track[0], (away, away), textcoords="offset points",
            fontsize=size if inside else 6.5, ha="center" if inside else "left",
            va="center_baseline" if inside else "bottom", color=_INK, zorder=7,
            path_effects=[withStroke(linewidth=1.8, foreground="white")], **_AS_IT_IS,
        )  # fmt: skip

    def _trail(self, disc: Disc, moment: int) -> None:
        if moment == 0:
            return
        way = disc.track[: moment + 1]
        age = np.arange(moment, 0, -1) / len(self._steps)  # of each piece, the oldest first
        lines = LineCollection(
            list(np.stack([way[:-1], way[1:]], axis=1)),
            colors=[(*to_rgb(disc.colour), 0.2 + 0.5 * (1 - a) ** 2) for a in age],
            linewidths=1.6, capstyle="butt", zorder=2,
        )  # fmt: skip
        self._pass(self._axes.add_collection(lines, autolim=False))

    def _cross(self, disc: Disc, moment: int) -> None:
        (x, y), reach = disc.track[moment], 1.7 * disc.radius
        look: dict[str, Any] = {"color": disc.colour, "linewidth": 1.1, "zorder": 2.4}
        self._pass(*self._axes.plot((x - reach, x + reach), (y, y), **look))
        self._pass(*self._axes.plot((x, x), (y - reach, y + reach), **look))

    def _claim(self, claim: Claim, moment: int) -> None:
        (x, y), place = claim.origin, claim.track[moment]
        dashes: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1, "zorder": 2}
        mark: dict[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 2.2, "zorder": 6}
        self._pass(*self._axes.plot((x, place[0]), (y, place[1]), color=claim.colour, **dashes))
        self._pass(*self._axes.plot(*place[:, None], color=claim.colour, **mark))

    def _arrows(self, mask: NDArray, moment: int) -> None:
        point, agents = self._point, self._scene.discs[: len(mask)]
        centres = np.stack([agent.track[moment] for agent in agents])
        radii = np.array([agent.radius for agent in agents]) + 1.2 * point
        for receiver, sender in np.argwhere(mask > 0).tolist():
            both = bool(mask[sender, receiver] > 0)
            way = arrow(centres, radii, sender, receiver, both, room=14 * point)
            patch = FancyArrowPatch(
                path=MplPath(way, [MplPath.MOVETO, MplPath.CURVE3, MplPath.CURVE3]),
                arrowstyle="-|>,head_length=0.5,head_width=0.24",
                mutation_scale=11 - 5 * self._crowd, linewidth=1.3 - 0.8 * self._crowd,
                color=_INK, alpha=0.85 - 0.5 * self._crowd,
                joinstyle="miter", capstyle="butt", zorder=3.2, gid=f"edge {sender}->{receiver}",
            )  # fmt: skip
            self._pass(self._axes.add_patch(patch))
            size = patch.get_mutation_scale() * point
            look: dict[str, Any] = {"color": _INK, "alpha": patch.get_alpha(), "linewidth": 0}
            tip = Polygon(head(way, 0.5 * size, 0.24 * size), zorder=6.5, **look)
            self._pass(self._axes.add_patch(tip))  # once more: a body may lie where it points

    def _tell(self, moment: int, mask: NDArray | None) -> None:
        step, rewards = int(self._steps[moment]), self._rewards
        self._clock.set_text(
            "end" if step >= self._horizon else f"step {step + 1} of {self._horizon}"
        )
        reward = rate = ""
        if rewards is not None:
            over = moment == len(rewards)
            reward = f"return {rewards.sum():.2f}" if over else f"reward {rewards[moment]:.2f}"
        if mask is not None:
            number, most = int((mask > 0).sum()), len(mask) * (len(mask) - 1)
            rate = f"edges {number} of {most} ({number / most:.0%})"
        self._reward.set_text(reward.replace("-", "\u2212"))
        self._rate.set_text(rate)

    def _pass(self, *artists: Any) -> None:
        self._passing.extend(artists)


def _face(disc: Disc) -> Any:
    tint = tuple(1 - 0.24 * (1 - part) for part in to_rgb(disc.colour))
    faces = {Fill.PALE: tint, Fill.SOLID: disc.colour, Fill.HATCHED: "#dddddd"}
    return faces.get(disc.fill, "none")


def _key(disc: Disc) -> Any:
    """A disc's entry in the legend: markers that lie upon each other."""
    look: dict[str, Any] = {"linestyle": "", "markeredgecolor": disc.colour}
    ring = Line2D([], [], marker="o", markersize=8, markerfacecolor=_face(disc), **look)
    if disc.fill is not Fill.CROSSED:
        return ring
    ring.set_markersize(6)
    return ring, Line2D([], [], marker="+", markersize=11, **look)


def _view(scene: Scene) -> tuple[NDArray, float]:
    """Centre and half side of the square that holds the arena, and whatever strays from it."""
    half = np.full(2, scene.half_width)
    low = np.min([-half, *(disc.track.min(0) - disc.radius for disc in scene.discs)], axis=0)
    high = np.max([half, *(disc.track.max(0) + disc.radius for disc in scene.discs)], axis=0)
    if not np.isfinite([low, high]).all():
        raise ValueError("these states cannot be drawn: they hold numbers that are not finite")
    return (low + high) / 2, 0.5 * float((high - low).max()) + 0.03 * scene.half_width
