"""`python -m benchmarks.t4`: what a T4 is predicted to take, as far as measured GPUs confirm the model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.t4 import storage
from benchmarks.t4.compiled import compiled
from benchmarks.t4.control_flow import Loop
from benchmarks.t4.gate import FIGURES, Check, Figure, checks, refusal
from benchmarks.t4.instruction_mix import mix
from benchmarks.t4.rates import ASSUMPTIONS, GPUS, SOURCES, T4, Gpu
from benchmarks.t4.workloads import SHAPE, cooperative_config


def readable(seconds: float) -> str:
    """A time with three digits and a unit that suits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def line(figure: Figure, found: Sequence[Check], unchecked: bool = False) -> str:
    """One figure of the T4 as text: shown, or why not, or computed all the same and called unchecked."""
    reason = refusal(figure, found)
    if reason is not None and not unchecked:
        return f"{figure.title}: {reason}"
    estimate = figure.predict(T4)
    word = "prediction" if reason is None else "UNCHECKED prediction"
    ends = f"{readable(estimate.low)} to {readable(estimate.high)}"
    parts = "; ".join(f"{name} {value:,.4g}" for name, value in estimate.parts.items())
    return f"{figure.title}: {word} {readable(estimate.figure)} ({ends})\n    {parts}"


def show_figures(unchecked: bool) -> None:
    """The checks, then the T4's figures."""
    print("The T4 on paper: predictions, not measurements")
    found = checks()
    for check in found:
        print(
            f"{check.gpu}, {check.row}: predicted {readable(check.predicted)}, measured {readable(check.measured)}, "
            f"ratio {check.ratio:.2f}{'' if check.holds else ', OFF'}"
        )
    for figure in FIGURES:
        print(line(figure, found, unchecked))


def show_assumptions(gpus: Sequence[Gpu] = GPUS) -> None:
    """Every assumption and source, and the rates of each GPU."""
    print("Assumptions")
    for number, text in enumerate(ASSUMPTIONS, 1):
        print(f"  {number}. {text}")
    print("Sources")
    for name, text in SOURCES.items():
        print(f"  [{name}] {text}")
    print("GPUs (per SM and clk; latencies in clk)")
    for gpu in gpus:
        facts = {
            "SMs": gpu.processors, "GHz": gpu.clock_hz / 1e9, "FP32": gpu.fp32_lanes, "INT": gpu.int_lanes,
            "special": gpu.special_lanes, "shared B": gpu.shared_bytes, "L2 B": gpu.l2_bytes,
            "ALU": gpu.alu_latency, "shared latency": gpu.shared_latency, "L2 latency": gpu.l2_latency,
        }  # fmt: skip
        words = ", ".join(f"{name} {value:g}" for name, value in facts.items())
        print(f"  {gpu.name}: {words} [{', '.join(gpu.sources)}]")


def show_mix(gpu: Gpu) -> None:
    """The loops of each modelled kernel on a GPU's target, and what each holds outside deeper ones."""
    slices = f"{SHAPE} batch 100 u8, {cooperative_config(gpu).input_block} inputs a slice"
    for kernel, config in (
        ("cooperative_training", slices),
        ("packed_fused", "rows128 width16 byte"),
        ("evaluation_forward", "16-16 u8"),
    ):
        print(f"{kernel}, {config}, {gpu.target}")
        _show_loops(compiled(kernel, config, gpu.target).loops, 1)


def _show_loops(loop: Loop, depth: int) -> None:
    held = ", ".join(f"{count} {name}" for name, count in mix(loop.own).items())
    print(f"{'  ' * depth}{'kernel' if depth == 1 else 'loop'} at {loop.head}, {len(loop.own)}: {held}")
    for inner in loop.inner:
        _show_loops(inner, depth + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 where kernels cannot be compiled and something was to be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.t4", description=__doc__)
    parser.add_argument(
        "--unchecked", action="store_true", help="compute the figures without the rows' consent"
    )
    parser.add_argument("--assumptions", action="store_true", help="list assumptions, sources and rates")
    parser.add_argument("--mix", action="store_true", help="list what the loops hold")
    parser.add_argument("--save", action="store_true", help="write the file that documents are made from")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.assumptions:
            show_assumptions()
        if chosen.mix:
            show_mix(T4)
        if chosen.save and storage.save() is None:
            print("no measured GPU to check the model by: nothing is kept")
        if not (chosen.assumptions or chosen.mix or chosen.save):
            show_figures(chosen.unchecked)
    except RuntimeError as error:
        print(f"t4: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
