from __future__ import annotations

import pytest

from purejax_mgtopo.machine.accelerator import Gpu, advice, parse_gpus

V100, T4, H200, K80 = (
    Gpu("Tesla V100-SXM2-16GB", (7, 0)),
    Gpu("Tesla T4", (7, 5)),
    Gpu("NVIDIA H200", (9, 0)),
    Gpu("Tesla K80", (3, 7)),
)


def test_reads_what_the_driver_lists() -> None:
    listed = "Tesla V100-SXM2-16GB, 7.0\nNVIDIA H200, 9.0\n"
    assert parse_gpus(listed) == (V100, H200)
    assert parse_gpus("") == ()
    with pytest.raises(ValueError):
        parse_gpus("No devices were found\n")


@pytest.mark.parametrize(
    ("gpus", "packages", "expected"),
    [
        ((), {}, None),
        ((H200,), {"jax-cuda13-plugin": "0.10.2"}, None),
        ((T4,), {"jax-cuda13-plugin": "0.10.2"}, None),
        ((V100,), {"jax-cuda12-plugin": "0.10.2", "nvidia-cudnn-cu12": "9.10.2.21"}, None),
        ((H200,), {"jax-cuda12-plugin": "0.10.2", "nvidia-cudnn-cu12": "9.14.0.64"}, None),
        ((H200,), {}, "pip install -e '.[cuda13]'"),
        ((V100,), {}, "pip install -e '.[v100]'"),
        ((V100,), {"jax-cuda13-plugin": "0.10.2"}, "uninstall -y jax-cuda13-plugin"),
        ((H200, V100), {"jax-cuda13-plugin": "0.10.2"}, "V100-SXM2-16GB (compute capability 7.0)"),
        (
            (V100,),
            {"jax-cuda12-plugin": "0.10.2", "nvidia-cudnn-cu12": "9.11.0.98"},
            "cuDNN before 9.11",
        ),
        ((K80,), {"jax-cuda12-plugin": "0.10.2"}, "too old"),
    ],
)
def test_names_the_command_that_helps(gpus, packages, expected: str | None) -> None:
    line = advice(gpus, packages)
    if expected is None:
        assert line is None
    else:
        assert line is not None and expected in line and "\n" not in line
