"""What a compiled GPU program does, read from its text: kernels, bytes and flops, on paper. Free of JAX.

Each kernel reads its operands and writes its results once; slices, gathers and updates in place count what they touch.
What a cache holds between two kernels counts again, so that a card may do better; what a kernel reads twice counts
once, so that it may do worse. Branches are left out. Of kernels of our own (`algorithm.kernels.fused`) the text holds
no products: what each program of one multiplies stands in its name.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

_SIZES = {
    "f64": 8, "s64": 8, "u64": 8, "c64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2,
    "s16": 2, "u16": 2, "pred": 1, "s8": 1, "u8": 1,
}  # fmt: skip
_KERNELS = frozenset(
    "fusion custom-call copy sort scatter dynamic-slice dynamic-update-slice reduce gather convert "
    "transpose broadcast concatenate slice iota dot select add multiply".split()
)
_PASSED_THROUGH = ("bitcast", "reshape", "transpose", "copy", "convert", "negate")
_OURS = re.compile(r"products_(\d+)_a_program")
_HOST = re.compile(r"callback|outfeed|infeed|host|python", re.IGNORECASE)


@dataclass
class Traffic:
    """What a program, or a part of it, does from its start to its end."""

    kernels: float = 0.0
    bytes: float = 0.0
    """Read and written."""
    flops: float = 0.0
    """Operations of products."""
    scatters: int = 0
    """Number in the text, branches included; so are the next two."""
    sorts: int = 0
    host_calls: int = 0
    parts: dict[str, Traffic] = field(default_factory=dict)
    """By loop and source."""

    def add(self, kernels: float, moved: float, flops: float) -> None:
        """Count so many more."""
        self.kernels += kernels
        self.bytes += moved
        self.flops += flops

    def costliest(self, count: int) -> list[tuple[str, Traffic]]:
        """The parts that move most."""
        return sorted(self.parts.items(), key=lambda part: -part[1].bytes)[:count]


@dataclass(frozen=True)
class _Operation:
    name: str
    shape: str
    kind: str
    operands: list[str]
    inside: str
    """What stands between its parentheses."""
    attributes: str


def traffic(text: str) -> Traffic:
    """Kernels, bytes and flops of the program whose compiled text this is."""
    program = _Program(re.sub(r"/\*.*?\*/", "", text))
    total = Traffic(
        scatters=len(re.findall(r" scatter\(", text)),
        sorts=len(re.findall(r" sort\(", text)),
        host_calls=sum(bool(_HOST.search(t)) for t in re.findall(r'call_target="([^"]+)"', text))
        + len(re.findall(r" (?:outfeed|infeed|send|recv)\(", text)),
    )
    for times, path, operation, scope in program.kernels(program.entry, 1, ""):
        moved, flops = program.moved(operation, scope), program.flops(operation, scope)
        source = re.search(r'op_name="([^"]*)"', operation.attributes)
        name = f"{path or '/'} {source[1][-90:] if source else operation.name}"
        total.add(times, times * moved, times * flops)
        total.parts.setdefault(name, Traffic()).add(times, times * moved, times * flops)
    return total


class _Program:
    """The computations of a program by name."""

    def __init__(self, text: str) -> None:
        self.computations: dict[str, list[_Operation]] = {}
        self.entry = current = ""
        for line in text.splitlines():
            begins = re.match(r"^(ENTRY )?%?([\w.\-]+) \(", line)
            if begins:
                current = begins[2]
                self.computations[current] = []
                self.entry = current if begins[1] else self.entry
                continue
            found = re.match(
                r"^\s+(?:ROOT )?%?([\w.\-]+) = (\([^=]*?\)|\S+) ([\w\-]+)\((.*)$", line
            )
            if found and current:
                name, shape, kind, rest = found.groups()
                depth = end = 0
                for end, letter in enumerate(rest):  # noqa: B007
                    depth += {"(": 1, ")": -1}.get(letter, 0)
                    if depth < 0:
                        break
                operands = re.findall(r"%([\w.\-]+)", rest[:end])
                self.computations[current].append(
                    _Operation(name, shape, kind, operands, rest[:end], rest[end:])
                )

    def kernels(
        self, computation: str, times: float, path: str
    ) -> Iterator[tuple[float, str, _Operation, dict[str, _Operation]]]:
        """Every kernel with how often it runs and in which loops (by their turns)."""
        scope = {x.name: x for x in self.computations[computation]}
        for x in scope.values():
            if x.kind in _KERNELS:
                yield times, path, x, scope
            elif x.kind == "while":
                known = re.search(r'known_trip_count":\{"n":"(\d+)"', x.attributes)
                turns = int(known[1]) if known else 1
                body = re.search(r"body=%?([\w.\-]+)", x.attributes)
                assert body is not None
                yield from self.kernels(body[1], times * turns, f"{path}/{turns}")
            elif x.kind in ("call", "async-start"):
                called = re.search(r"(?:to_apply|calls)=%?([\w.\-]+)", x.attributes)
                if called:
                    yield from self.kernels(called[1], times, path)

    def flops(self, x: _Operation, scope: dict[str, _Operation]) -> float:
        """Operations of the products in a kernel."""
        ours = _OURS.search(x.attributes) if x.kind == "custom-call" else None
        if ours:
            programs = re.findall(r"\bgrid_[xyz] = (\d+)", x.attributes)
            return int(ours[1]) * math.prod(map(int, programs))
        if x.kind == "custom-call" and "matmul" in x.attributes:
            left, right = (_shapes(scope[name].shape)[0] for name in x.operands[:2])
            out = _shapes(x.shape)[0]
            batch = out[0] if len(out) > 2 else 1
            inner = math.sqrt(math.prod(left) * math.prod(right) / math.prod(out) / batch)
            return 2 * math.prod(out) * inner
        if x.kind == "dot":
            return self._product(x, scope)
        return sum(map(self._products, re.findall(r"calls=%?([\w.\-]+)", x.attributes)))

    def _products(self, computation: str) -> float:
        scope = {x.name: x for x in self.computations.get(computation, [])}
        total = 0.0
        for x in scope.values():
            if x.kind == "dot":
                total += self._product(x, scope)
            for inner in re.findall(r"(?:calls|to_apply)=%?([\w.\-]+)", x.attributes):
                total += self._products(inner)
        return total

    def _product(self, x: _Operation, scope: dict[str, _Operation]) -> float:
        left = _shapes(scope[x.operands[0]].shape)[0]
        summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", x.attributes)
        axes = [int(k) for k in summed[1].split(",") if k] if summed else []
        return 2 * math.prod(_shapes(x.shape)[0]) * math.prod(left[k] for k in axes)

    def moved(self, x: _Operation, scope: dict[str, _Operation]) -> float:
        """Bytes that a kernel reads and writes."""
        called = re.search(r"calls=%?([\w.\-]+)", x.attributes)
        body = self.computations.get(called[1], []) if called else []
        users = defaultdict(list)
        for y in body:
            for operand in y.operands:
                users[operand].append(y)
        inputs = {int(y.inside): y.name for y in body if y.kind == "parameter"}

        def read(name: str, size: float, depth: int = 0) -> float:
            if not users[name] and depth:  # what is only rounded or turned is the kernel's result
                return size
            total = 0.0
            for user in users[name]:
                own = user.operands[0] == name
                if user.kind in ("dynamic-slice", "slice", "gather") and own:
                    total += _bytes(user.shape)
                elif user.kind == "dynamic-update-slice" and own:
                    continue
                elif user.kind in _PASSED_THROUGH and depth < 6:
                    total += read(user.name, size, depth + 1)
                else:
                    return size
            return min(total, size)

        total, written = 0.0, _bytes(x.shape)
        if x.kind in ("dynamic-slice", "slice", "gather"):
            return 2 * written
        if x.kind == "dynamic-update-slice":
            return 2 * _bytes(scope[x.operands[1]].shape)
        for i, operand in enumerate(x.operands):
            size = _bytes(scope[operand].shape) if operand in scope else 0.0
            total += read(inputs[i], size) if i in inputs else size
        own = {y.name: y for y in body}
        for y in body:
            if y.kind == "dynamic-update-slice" and y.operands[1] in own:
                written -= _bytes(y.shape) - _bytes(own[y.operands[1]].shape)
        return total + max(written, 0.0)


def _shapes(text: str) -> list[list[int]]:
    return [
        [int(size) for size in sizes.split(",") if size]
        for kind, sizes in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", text)
        if kind in _SIZES
    ]


def _bytes(text: str) -> float:
    return sum(
        _SIZES[kind] * math.prod(int(size) for size in sizes.split(",") if size)
        for kind, sizes in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", text)
        if kind in _SIZES
    )
