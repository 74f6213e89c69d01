"""Names in a picture are data, and no formulas."""

from __future__ import annotations

import dataclasses

from jax_mpe.viewer import draw
from matplotlib.text import Text
from viewer_cases import make, record


class Priced:
    """A task whose things have dear names."""

    def __init__(self, task):
        self.name, self.horizon, self.num_agents = r"$\bar$", task.horizon, task.num_agents
        self._task, self.state_shapes = task, task.state_shapes

    def scene(self, states, actions=None):
        scene = self._task.scene(states, actions)
        first, *others = scene.discs
        named = dataclasses.replace(first, role="$5 or $6", label=r"$\foo$")
        return dataclasses.replace(scene, discs=(named, *others))


def test_a_dollar_is_a_dollar():
    task = make("push_N3")
    for title in ("", r"$5 or $\foo$"):
        figure = draw(Priced(task), dataclasses.replace(record(task), title=title))
        figure.canvas.draw()
        texts = [text for text in figure.findobj(Text) if "$" in text.get_text()]
        assert len({text.get_text() for text in texts}) == 3
        assert not any(text.get_parse_math() for text in texts)
