"""The page of what the paper leaves open says the defaults as they are."""

import re
from pathlib import Path

import pytest

from purejax_mgtopo.config import Config, Experiment, Means
from purejax_mgtopo.settings import flatten

PAGE = Path(__file__).parents[3] / "runs" / "paper" / "left_open.md"
ROWS = re.findall(r"^\|[^|]+\| `([a-z0-9_.]+)` \| ([^|]+) \|", PAGE.read_text(), re.M)


@pytest.mark.parametrize(("name", "said"), ROWS)
def test_a_default_is_what_the_page_says(name: str, said: str) -> None:
    default = flatten(Config(Experiment(), Means()))[name]
    if isinstance(default, bool):
        assert said == str(default).lower()
    elif isinstance(default, str):
        assert said == default
    else:
        assert float(said.replace(",", "")) == default


def test_the_page_has_all_of_its_rows() -> None:
    assert len(ROWS) == len({name for name, _ in ROWS}) >= 20
