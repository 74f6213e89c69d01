"""Kernels, bytes and flops of a compiled program's text, counted by hand here."""

from __future__ import annotations

import pytest

from purejax_mgtopo.machine.hlo import traffic

PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_add (param_0: f32[8,16], param_1: f32[100,16]) -> f32[8,16] {
  %param_0 = f32[8,16]{1,0} parameter(0)
  %param_1 = f32[100,16]{1,0} parameter(1)
  %slice.1 = f32[8,16]{1,0} dynamic-slice(%param_1, %param_0), dynamic_slice_sizes={8,16}
  ROOT %add.1 = f32[8,16]{1,0} add(%param_0, %slice.1)
}

%gemm_computation (a: bf16[8,16], b: bf16[16,4]) -> f32[8,4] {
  %a = bf16[8,16]{1,0} parameter(0)
  %b = bf16[16,4]{1,0} parameter(1)
  ROOT %dot.1 = f32[8,4]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%write (ring: f32[100,16], row: f32[1,16]) -> f32[100,16] {
  %ring = f32[100,16]{1,0} parameter(0)
  %row = f32[1,16]{1,0} parameter(1)
  ROOT %dus = f32[100,16]{1,0} dynamic-update-slice(%ring, %row, %row)
}

%body (arg: (f32[8,16], f32[100,16])) -> (f32[8,16], f32[100,16]) {
  %arg = (f32[8,16]{1,0}, f32[100,16]{1,0}) parameter(0)
  %x = f32[8,16]{1,0} get-tuple-element(%arg), index=0
  %ring.1 = f32[100,16]{1,0} get-tuple-element(%arg), index=1
  %loop_fusion = f32[8,16]{1,0} fusion(%x, %ring.1), kind=kLoop, calls=%fused_add, metadata={op_name="jit(f)/add"}
  ROOT %tuple = (f32[8,16]{1,0}, f32[100,16]{1,0}) tuple(%loop_fusion, %ring.1)
}

%condition (arg.1: (f32[8,16], f32[100,16])) -> pred[] {
  %arg.1 = (f32[8,16]{1,0}, f32[100,16]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (p0: f32[8,16], p1: f32[100,16], p2: bf16[8,16], p3: bf16[16,4], p4: f32[1,16]) -> f32[8,4] {
  %p0 = f32[8,16]{1,0} parameter(0)
  %p1 = f32[100,16]{1,0} parameter(1)
  %p2 = bf16[8,16]{1,0} parameter(2)
  %p3 = bf16[16,4]{1,0} parameter(3)
  %p4 = f32[1,16]{1,0} parameter(4)
  %start = (f32[8,16]{1,0}, /*index=1*/f32[100,16]{1,0}) tuple(%p0, %p1)
  %loop = (f32[8,16]{1,0}, f32[100,16]{1,0}) while(%start), body=%body, backend_config={"known_trip_count":{"n":"25"}}
  %put = f32[100,16]{1,0} fusion(%p1, %p4), kind=kLoop, calls=%write
  ROOT %gemm = f32[8,4]{1,0} fusion(%p2, %p3), kind=kCustom, calls=%gemm_computation
}
"""


def test_kernels_bytes_and_flops_are_those_counted_by_hand() -> None:
    found = traffic(PROGRAM)
    assert found.kernels == 25 + 2
    rows, matrix = 8 * 16 * 4, 8 * 16 * 2 + 16 * 4 * 2 + 8 * 4 * 4
    row = 2 * 16 * 4  # read and written, not the whole ring
    assert found.bytes == 25 * (3 * rows) + row + matrix
    assert found.flops == 2 * 8 * 16 * 4
    assert found.costliest(1) == [("/25 jit(f)/add", found.parts["/25 jit(f)/add"])]
    assert found.parts["/25 jit(f)/add"].kernels == 25
    assert (found.scatters, found.sorts, found.host_calls) == (0, 0, 0)


def test_what_is_only_rounded_is_read_whole() -> None:
    rounds = "  %p = f32[8,16]{1,0} parameter(0)\n  ROOT %c = bf16[8,16]{1,0} convert(%p)\n"
    text = (
        f"%rounded (p: f32[8,16]) -> bf16[8,16] {{\n{rounds}}}\n\n"
        "ENTRY %main (p0: f32[8,16]) -> bf16[8,16] {\n  %p0 = f32[8,16]{1,0} parameter(0)\n"
        "  ROOT %wrapped = bf16[8,16]{1,0} fusion(%p0), kind=kLoop, calls=%rounded\n}\n"
    )
    assert traffic(text).bytes == 8 * 16 * (4 + 2)


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        ("%s = f32[8,4]{1,0} scatter(%p0, %p0, %p0), to_apply=%add", "scatters"),
        ("%s = f32[8,4]{1,0} sort(%p0), dimensions={0}", "sorts"),
        (
            '%s = f32[8]{0} custom-call(%p0), custom_call_target="xla_python_gpu_callback"',
            "host_calls",
        ),
        ("%s = token[] outfeed(%p0, %p0), outfeed_config=x", "host_calls"),
    ],
)
def test_what_a_gpu_does_badly_is_seen(line: str, counted: str) -> None:
    assert (
        getattr(traffic(PROGRAM.replace("  ROOT %gemm", f"  {line}\n  ROOT %gemm")), counted) == 1
    )


def test_a_kernel_of_our_own_counts_as_often_as_it_runs_with_what_its_name_says() -> None:
    """Operands once and results once, six programs, in a loop of 25 turns; what is inside it is not read."""
    call = (
        "  %ours = (bf16[8,16]{1,0}, f32[8]{0}) custom-call(%x, %ring.1), "
        'custom_call_target="__gpu$xla.gpu.triton", api_version=API_VERSION_TYPED_FFI, '
        'metadata={op_name="jit(f)/vmap(products_500_a_program)/pallas_call"}, backend_config={'
        'debug = false, grid_x = 2 : i32, grid_y = 3 : i32, grid_z = 1 : i32, ir = "matmul\\00"}'
    )
    plain = traffic(PROGRAM)
    found = traffic(PROGRAM.replace("  ROOT %tuple", f"{call}\n  ROOT %tuple"))
    assert found.kernels == plain.kernels + 25
    moved = (8 * 16 * 4 + 100 * 16 * 4) + (8 * 16 * 2 + 8 * 4)
    assert found.bytes == plain.bytes + 25 * moved
    assert found.flops == plain.flops + 25 * 6 * 500
