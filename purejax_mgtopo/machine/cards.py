"""Cards for which programs can be compiled where there is none, with what their data sheets promise. Free of JAX."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine.paths import expanded

LAUNCH = 2e-6
"""Seconds from the start of one small kernel to that of the next, at best, if the host keeps up."""


@dataclass(frozen=True)
class Card:
    """One kind of GPU."""

    name: str
    memory: int
    """Bytes, as its driver reports them."""
    bandwidth: float
    """Bytes a second between memory and chip."""
    flops: dict[str, float]
    """Operations a second of products, by their precision: float32, tf32, bfloat16."""
    target: str
    """The card as XLA's compiler wants it described: a GpuTargetConfigProto in text form."""

    def rate(self, precision: str) -> float:
        """Operations a second of products under the setting `precision`; a card without tf32 uses float32."""
        wanted = "tf32" if precision == "auto" else precision
        return self.flops.get(wanted, self.flops["float32"])


def _described(
    name: str,
    capability: tuple[int, int],
    cores: int,
    lanes: int,
    bandwidth: float,
    cache: int,
    clock: float,
    memory: int,
    shared: tuple[int, int],
    flops: dict[str, float],
) -> Card:
    dnn = "major: 9 minor: 10" if capability == (7, 0) else "major: 9 minor: 12"
    target = f"""gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32
shared_memory_per_block: 49152 shared_memory_per_core: {shared[0]} threads_per_core_limit: 2048 core_count: {cores}
fpus_per_core: {lanes} block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
memory_bandwidth: {int(bandwidth)} l2_cache_size: {cache} clock_rate_ghz: {clock} device_memory_size: {memory}
shared_memory_per_block_optin: {shared[1]} cuda_compute_capability {{ major: {capability[0]} minor: {capability[1]} }}
registers_per_core_limit: 65536 registers_per_block_limit: 65536 }}
runtime_version: {{ major: 12 minor: 8 patch: 0 }} platform_name: "CUDA" dnn_version_info {{ {dnn} }}
device_description_str: "{name}" """
    return Card(name, memory, bandwidth, flops, target)


_HOPPER = {"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12}
CARDS = {
    card.name: card
    for card in (
        _described(
            "v100", (7, 0), 80, 64, 900e9, 6 << 20, 1.53, 16_900_000_000, (98304, 98304),
            {"float32": 15.7e12, "bfloat16": 15.7e12},
        ),
        _described(
            "a100", (8, 0), 108, 64, 1555e9, 40 << 20, 1.41, 42_400_000_000, (167936, 166912),
            {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12},
        ),
        _described(
            "h100", (9, 0), 132, 128, 3352e9, 50 << 20, 1.98, 84_900_000_000, (233472, 232448),
            _HOPPER,
        ),
        _described(
            "h200", (9, 0), 132, 128, 4800e9, 60 << 20, 1.98, 150_000_000_000, (233472, 232448),
            _HOPPER,
        ),
    )
}  # fmt: skip
"""V100 with 16 GB, A100 with 40 GB, and H100 with 80 GB, as modules for a server's board (SXM), and H200."""


def card_named(name: str) -> Card:
    """A known card by its name, or one from a file that describes it as XLA does.

    XLA keeps such files (``GpuTargetConfigProto``) for many cards. Raises ConfigError for anything else.
    """
    if name.lower() in CARDS:
        return CARDS[name.lower()]
    path = expanded(name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"no card {name!r}: it must be one of {', '.join(CARDS)}, or a file with XLA's description of a card "
            "(GpuTargetConfigProto as text)"
        ) from None
    return _read(text, path)


def _read(text: str, path: Path) -> Card:
    found = {
        field: _number(text, field)
        for field in (
            "device_memory_size", "memory_bandwidth", "core_count", "fpus_per_core", "clock_rate_ghz",
        )
    }  # fmt: skip
    missing = [field for field, value in found.items() if not value]
    if missing:
        raise ConfigError(f"{path} does not describe a card: it lacks {', '.join(missing)}")
    flops = 2 * found["core_count"] * found["fpus_per_core"] * found["clock_rate_ghz"] * 1e9
    # What tensor cores do is not in such a file; on all cards that have tf32 it is at least four times as much.
    tensor = {} if _number(text, "major") < 8 else {"tf32": 8 * flops, "bfloat16": 16 * flops}
    memory, bandwidth = int(found["device_memory_size"]), found["memory_bandwidth"]
    return Card(path.stem, memory, bandwidth, {"float32": flops} | tensor, text)


def _number(text: str, field: str) -> float:
    match = re.search(rf"\b{field}\s*:\s*([\d.]+(?:e\+?\d+)?)", text)
    return float(match[1]) if match else 0.0
