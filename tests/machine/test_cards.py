"""Cards that are not there: by name, from a file, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from purejax_mgtopo.config import Means
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine.cards import CARDS, card_named
from purejax_mgtopo.machine.startup import ALLOCATED, configure_platform


def test_a_file_that_describes_a_card_is_that_card(tmp_path: Path) -> None:
    known = CARDS["a100"]
    file = tmp_path / "mine.txtpb"
    file.write_text(known.target)
    card = card_named(str(file))
    assert (card.name, card.memory, card.bandwidth) == ("mine", known.memory, known.bandwidth)
    assert card.target == known.target
    assert card.rate("float32") == pytest.approx(known.rate("float32"), rel=0.02)
    assert card.rate("auto") == pytest.approx(known.rate("auto"), rel=0.02)


def test_products_without_tf32_are_float32() -> None:
    assert CARDS["v100"].rate("auto") == CARDS["v100"].rate("float32") == 15.7e12
    assert CARDS["h100"].rate("auto") > CARDS["h100"].rate("float32")


def test_names_are_read_in_any_case() -> None:
    assert card_named("H200") is CARDS["h200"]


def test_what_is_no_card_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no card 'x9': .*v100, a100, h100, h200.* file"):
        card_named("x9")
    with pytest.raises(ConfigError, match="no card"):
        card_named(str(tmp_path))
    file = tmp_path / "half.txtpb"
    file.write_text("core_count: 4 fpus_per_core: 64 clock_rate_ghz: 1.5")
    with pytest.raises(ConfigError, match="lacks device_memory_size, memory_bandwidth"):
        card_named(str(file))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ConfigError, match="no card"):
        card_named(str(tmp_path / "picture.png"))


def test_a_process_takes_what_plans_for_cards_count_on(monkeypatch: pytest.MonkeyPatch) -> None:
    variable, other = "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION"
    for name in (variable, other):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setenv(other, "0.4")  # JAX refuses both at once
    configure_platform(Means())
    assert variable not in os.environ
    monkeypatch.delenv(other)
    configure_platform(Means())
    assert float(os.environ[variable]) == ALLOCATED
    monkeypatch.setenv(variable, "0.3")  # a shared machine's user
    configure_platform(Means())
    assert os.environ[variable] == "0.3"
