"""What talk costs, and what methods show of an episode, on the page."""

from __future__ import annotations

import json
import math
import re

import numpy as np

from purejax_mgtopo.analysis.statistics import Interval
from purejax_mgtopo.report.charts import Look
from purejax_mgtopo.report.costs import Place, place_chart
from purejax_mgtopo.report.model import Playback, Thing, Watched
from purejax_mgtopo.report.page import playback_json, weight_charts

LOOKS = {name: Look(name, "", "o") for name in ("red", "blue", "grey")}


def spots(picture: str) -> dict[str, tuple[float, float]]:
    found = re.findall(r"<title>(\w+)</title>.*?translate\(([\d.]+) ([\d.]+)\) scale", picture)
    return {name: (float(x), float(y)) for name, x, y in found}


def test_returns_stand_against_powers_of_ten_of_bits() -> None:
    """Silence at zero; ten times the bits is as far as ten times more; a better return is higher up."""
    places = [
        Place("grey", LOOKS["grey"], 0.0, Interval(-30.0, -31.0, -29.0)),
        Place("blue", LOOKS["blue"], 99.0, Interval(-20.0, math.nan, math.nan)),
        Place("red", LOOKS["red"], 9999.0, Interval(-10.0, -12.0, -9.0)),
    ]
    picture = str(place_chart(places, title="talk", x_label="bits per step"))
    at = spots(picture)
    assert set(at) == {"grey", "blue", "red"}
    step = at["blue"][0] - at["grey"][0]
    assert step > 30 and abs(at["red"][0] - at["blue"][0] - step) < 0.3
    assert at["red"][1] < at["blue"][1] < at["grey"][1]
    assert "bits per step" in picture and "nan" not in picture
    assert "grey \u221230.0 [\u221231.0, \u221229.0] at 0 bits" in picture


def playback() -> Playback:
    thing = Thing("agent", "blue", "pale", "0", 100, np.zeros((1, 2), int))
    bits = np.array([[[0, 1], [1, 1]], [[1, 0], [0, np.nan]]], float)
    weights = np.array([[[0.2, 0.8], [0.4, 0.6]], [[0.0, 1.0], [0.5, 0.5]]])
    return Playback(
        7, "best", (thing, thing), (), np.ones((2, 2, 2), bool), np.zeros(2),
        agents={"bits": bits, "symbol": np.array([[3.0, 0.0], [2.0, 1.0]])},
        pairs={"attention": weights},
    )  # fmt: skip


def test_bits_symbols_and_weights_reach_the_player() -> None:
    (told,) = json.loads(playback_json([Watched("task", "dial", (playback(),))]))
    assert told["told"] == {
        "bits": [["01", "11"], ["10", "00"]],
        "symbol": [["3", "0"], ["2", "1"]],
    }
    assert told["weights"] == [[[0.2, 0.8, 0.4, 0.6], [0.0, 1.0, 0.5, 0.5]]]
    plain = Playback(0, "best", playback().things, (), np.ones((2, 2, 2), bool), np.zeros(2))
    (told,) = json.loads(playback_json([Watched("task", "full", (plain,))]))
    assert told["told"] == {} and told["weights"] == []


def test_weights_are_drawn_as_their_mean_over_steps_themselves_included() -> None:
    ((caption, picture),) = weight_charts(Watched("task", "tarmac", (playback(),)))
    assert caption == "tarmac: attention, best seed 7"
    told = re.findall(r"agent (\d) hears agent (\d): ([\d.]+)%<", str(picture))
    assert told == [("0", "0", "10.0"), ("0", "1", "90.0"), ("1", "0", "45.0"), ("1", "1", "55.0")]
