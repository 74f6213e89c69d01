"""What was measured, as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def environment_tables(rows: list[dict]) -> list[Table]:
    """Tables of the result of `measure_environments`."""
    columns = ("ours", "JaxMARL", "ratio (target 5x from 64 on)", "jumanji's reset", "ratio")
    table = _table("Environment steps/s", "task", "environments", *columns)
    for row in rows:
        ours, theirs, jumanji = (
            "-" if row[name] is None else f"{row[name]:,.0f}"
            for name in ("ours", "jaxmarl", "ours_jumanji")
        )
        ratios = _times(row["ratio"]), _times(row["ratio_jumanji"])
        table.add_row(
            row["task"], f"{row['num_envs']:,}", ours, theirs, ratios[0], jumanji, ratios[1]
        )
    return [table]


def training_tables(found: dict[str, Any]) -> list[Table]:
    """Tables of the result of `measure_training`."""
    ratio = "ours / PyTorch (target 3x)"
    table = _table(f"Training `none` on {found['task']}", "", "episodes/s", ratio)
    names = {"ours": "ours, all seeds"}
    names["plain"] = f"PyTorch as usually written, {found['processes']} processes"
    names["tuned"] = f"PyTorch tuned by hand, {found['processes']} processes"
    for name, rate in found["episodes_per_second"].items():
        table.add_row(names[name], f"{rate:,.1f}", _times(found["ratio"].get(name)))
    return [table]


def matmul_tables(found: dict[str, Any]) -> list[Table]:
    """Tables of the result of `measure_matmul`."""
    from purejax_mgtopo.bench.training import reference_rate

    rates = _table("float32 matmul in JAX", "size, devices", "GFLOP/s")
    for name, rate in found["gflop_per_second"].items():
        rates.add_row(name.replace(" on ", ", "), f"{rate:,.0f}")
    table = _table("Training `meta` at reference cost", "", "episodes/s", "GFLOP/s")
    table.add_column("of matmul (target 75 %)", justify="right")
    for task, rate in found["episodes_per_second"].items():
        share = f"{found['share'][task]:.0%}"
        table.add_row(task, f"{rate:,.1f}", f"{reference_rate(task, rate):,.0f}", share)
    return [rates, table]


def compile_tables(found: dict[str, Any]) -> list[Table]:
    """Tables of the result of `measure_compile`."""
    title = f"Seconds until {found['task']} trains"
    table = _table(title, "", "cold (target 20 for `meta`)", "warm")
    for method in ("none", "meta"):
        table.add_row(method, *(f"{found[method][state]:.1f}" for state in ("cold", "warm")))
    return [table]


def scaling_tables(found: dict[str, Any]) -> list[Table]:
    """Tables of the result of `measure_scaling`."""
    columns = ("episodes/s", "per seed", "compile s", "MB per seed", "of matmul", "of bandwidth")
    table = _table(f"Seeds at a time, `meta` on {found['task']}, {found['where']}", "", *columns)
    for measured, share in zip(found["seeds"], found["share"], strict=True):
        traffic = measured["useful_gbytes"] / found["gbytes_per_second"]
        table.add_row(
            f"{measured['seeds']:,}",
            f"{measured['episodes_per_second']:,.1f}",
            f"{measured['per_lane']:,.2f}",
            f"{measured['compile_seconds']:.1f}",
            f"{measured['bytes_per_lane'] / 1e6:,.1f}",
            f"{share:.0%}",
            f"{traffic:.0%}",
        )
    if not found["devices"]:
        return [table]
    first = found["devices"][0]
    devices = _table("The same seeds on more devices", "", "seeds", "episodes/s", "speed-up")
    for measured in found["devices"]:
        speedup = measured["episodes_per_second"] / first["episodes_per_second"]
        rate = f"{measured['episodes_per_second']:,.1f}"
        devices.add_row(f"{measured['devices']}", f"{measured['seeds']}", rate, _times(speedup))
    return [table, devices]


def preset_tables(rows: list[dict]) -> list[Table]:
    """Tables of the result of `measure_presets`."""
    columns = (
        "episodes/s",
        "of `none`",
        "MB kept a seed",
        "MB computing",
        "cold start, s (target 40)",
    )
    names = ("episodes_per_second", "relative", "kept_mb", "computing_mb", "compile_seconds")
    forms = (",.1f", ".0%", ",.1f", ",.1f", ".0f")
    tables = []
    for task in dict.fromkeys(row["task"] for row in rows):
        table = _table(f"Presets on {task}", "", *columns)
        for row in rows:
            if row["task"] == task:
                cells = (f"{row[name]:{form}}" for name, form in zip(names, forms, strict=True))
                table.add_row(row["method"], *cells)
        tables.append(table)
    return tables


def device_tables(found: dict[str, Any]) -> list[Table]:
    """Tables of the result of `measure_device`."""
    columns = (
        "episodes/s", "ms an episode of all", "kernels", "MB moved a seed", "GB/s", "TFLOP/s",
        "MB predicted", "MB peak", "minutes for 50,000 episodes",
    )  # fmt: skip
    names = (
        "episodes_per_second", "milliseconds", "kernels", "moved_mb", "gbytes_per_second", "tflops",
        "predicted_mb", "peak_mb", "minutes_for_all",
    )  # fmt: skip
    table = _table("Training; kernels and bytes by the program's text", "", *columns)
    rest = _table("And besides", "", "")
    for step, result in found["steps"].items():
        if "episodes_per_second" in result:
            table.add_row(step, *(f"{result[name]:,.1f}" for name in names))
            for kernel in result.get("hottest", ())[:5]:
                rest.add_row(f"{kernel['share']:.1%} of {step}", kernel["name"][:60])
        else:
            for name, value in result.items():
                shown = f"{value:,.1f}" if isinstance(value, float) else str(value)
                rest.add_row(f"{step}: {name}", shown)
    for step, why in found["failed"].items():
        rest.add_row(f"{step} failed", why[:60])
    return [table, rest]


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}x"


def _table(title: str, first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
