"""Pictures and animations of episodes: bodies to scale, their trails, and who hears whom.

`Scenario.render` and `Scenario.animate` come here; `Recording` with `draw`, `animate` and the two
`save_` functions offers more. What there is to see comes from the task itself, by its `scene`.
"""

from .pictures import animate, draw, pixels, save_animation, save_picture
from .recording import Recording

__all__ = ["Recording", "animate", "draw", "pixels", "save_animation", "save_picture"]
