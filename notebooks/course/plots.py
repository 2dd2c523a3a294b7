"""The course's figures of what was measured, counted or compiled on the present machine."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tables import text
from breaknet.kernels.host.targets import REGISTERS_PER_SM
from notebooks.course import busy
from notebooks.course.comparisons import stored_comparisons
from notebooks.course.measure import BOOKKEEPING, Batched, Overhead, StepProfile
from notebooks.course.pictures import BLUE, GOLD, GREEN, GREY, INK, PALE, RED, CourseFigure, plain_style
from notebooks.course.precision import PRODUCTS

_MARKS = "osD^vP*Xh<>pd"
_OF_PRODUCT = dict(zip(PRODUCTS, ((BLUE, "o"), (RED, "s"), (GOLD, "^")), strict=True))


def _panels(width: float, height: float, *shape: int, **layout: Any) -> tuple[Figure, list[Axes]]:
    """A figure, in inches, and its axes in rows and columns, row by row."""
    figure = CourseFigure(width, height, layout="constrained")
    return figure, list(figure.subplots(*shape, squeeze=False, **layout).ravel())


def _say(figure: Figure, conditions: busy.Conditions) -> Figure:
    """The figure with the conditions of its times below it, in red where the machine was busy."""
    shown = textwrap.fill(str(conditions), round(14 * figure.get_figwidth()))
    figure.supxlabel(shown, x=0.01, ha="left", fontsize=8.5, color=RED if conditions.busy else INK)
    return figure


@plain_style()
def where_time_goes(profile: StepProfile) -> Figure:
    """The shares of a step's purposes, and its operators by how often they are called."""
    figure, (left, right) = _panels(9, 3.4, 1, 2, gridspec_kw={"width_ratios": (1, 1.2)})
    names = list(profile.shares)[::-1]
    colours = [GREY if name == BOOKKEEPING else BLUE for name in names]
    bars = left.barh(names, [100 * profile.shares[name] for name in names], color=colours)
    left.bar_label(bars, fmt="%.0f %%", padding=3)
    widest = max(profile.shares.values())
    left.set(title="time within operators, by purpose", xlim=(0, 118 * widest), xticks=[])
    left.spines["bottom"].set_visible(False)
    shown = profile.operators[:10][::-1]
    labels = [f"{name.removeprefix('aten::')} × {calls:.0f}" for name, calls, _ in shown]
    right.barh(labels, [100 * share for *_, share in shown], color=BLUE)
    right.set(title="the ten longest × calls per step", xlabel="% of the time within operators")
    return _say(figure, profile.conditions)


@plain_style()
def overhead_curve(overhead: Overhead) -> Figure:
    """Time of one call against the number of values: flat, then a slope."""
    figure, (axes,) = _panels(7, 3.2)
    axes.loglog(overhead.sizes, [1e6 * each for each in overhead.seconds], "o-", color=BLUE)
    axes.axhline(1e6 * overhead.call, color=GREY, linestyle="--", zorder=0)
    axes.text(overhead.sizes[-1], 0.9e6 * overhead.call, "the call itself", ha="right", va="top", color=INK)
    axes.set(title="One call of torch.add", xlabel="values added", ylabel="µs")
    axes.set_ylim(bottom=0.4e6 * overhead.call)
    axes.grid(True, alpha=0.3)
    return _say(figure, overhead.conditions)


@plain_style()
def networks_curve(batched: Batched) -> Figure:
    """Time for one network against the number of networks: one call each, one call for all."""
    figure, (axes,) = _panels(7, 3.2)
    for seconds, label, mark, colour in (
        (batched.alone, "a call for each network", "s-", GREY),
        (batched.together, "one call for all", "o-", BLUE),
    ):
        axes.semilogx(batched.networks, [1e6 * one for one in seconds], mark, color=colour, label=label)
    axes.set_ylim(bottom=0)
    axes.set_xticks(batched.networks, [str(count) for count in batched.networks])
    axes.minorticks_off()
    axes.set(title="The second layer of many networks", xlabel="networks", ylabel="µs for one network")
    axes.legend()
    axes.grid(True, alpha=0.3)
    return _say(figure, batched.conditions)


@plain_style()
def precision_bars(errors: Mapping[str, Mapping[str, float]]) -> Figure:
    """The error of a step with each kind of product, as a share of what the contract allows."""
    names = list(next(iter(errors.values())))
    figure, (axes,) = _panels(9, 3.4)
    for product, (colour, mark) in _OF_PRODUCT.items():
        axes.semilogy(list(errors[product].values()), mark, color=colour, label=product, markersize=8)
    axes.axhline(1, color=INK, linewidth=1.3)
    axes.text(len(names) - 0.55, 1.15, "allowed", ha="right", va="bottom", color=INK)
    axes.set_xticks(range(len(names)), [name.replace(".", "\n") for name in names])
    axes.set(title="One training step against float64", ylabel="error of one step ÷ allowed error")
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(True, axis="y", alpha=0.3)
    return figure


@plain_style()
def spill_bars(rows: Sequence[Any]) -> Figure:
    """Spills, and blocks that fit an SM, under limits on the registers. `rows` are ResourceRows."""
    figure, panels = _panels(9, 2.3, 1, 2)
    titles = {"spill_instructions": "instructions that spill", "blocks_per_sm": "blocks that fit one SM"}
    for axes, (field, title), colour in zip(panels, titles.items(), (RED, BLUE), strict=True):
        values = [getattr(row, field) for row in reversed(rows)]
        bars = axes.barh([row.config for row in reversed(rows)], values, color=colour)
        axes.bar_label(bars, padding=3)
        axes.set(title=title, xlim=(0, 1.2 * max(1, *values)), xticks=[])
        axes.spines["bottom"].set_visible(False)
    panels[1].set_yticks([])
    return figure


@plain_style()
def register_file(rows: Sequence[Any]) -> Figure:
    """Each row's blocks in the register file of an SM, one beside the other."""
    figure, (axes,) = _panels(9, 0.42 * len(rows) + 0.9)
    for place, row in enumerate(reversed(rows)):
        each = -(-row.registers * 32 // 256) * 256 * row.warps
        for block in range(row.blocks_per_sm):
            axes.barh(place, each, left=block * each, color=PALE[BLUE], edgecolor=BLUE)
    axes.axvline(REGISTERS_PER_SM, color=INK, linewidth=2)
    axes.set_yticks(range(len(rows)), [f"{row.kernel}, {row.target}" for row in reversed(rows)])
    axes.set_xlim(0, 1.02 * REGISTERS_PER_SM)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(f"registers; a box is a block, the line the whole file of {REGISTERS_PER_SM:,}")
    return figure


@plain_style()
def times_and_floors(rows: Sequence[Any]) -> Figure:
    """Every implementation's time and floor, and its speed in multiples of the first one's."""
    kinds = [
        ("training step", [row for row in rows if row.name.startswith("step/")]),
        ("evaluation of 1,000 images", [row for row in rows if row.name.startswith("accuracy/")]),
    ]
    heights = [0.34 * len(some) + 0.9 for _, some in kinds]
    figure, both = _panels(9, sum(heights), 2, gridspec_kw={"height_ratios": heights})
    for axes, (title, some) in zip(both, kinds, strict=True):
        times = [1e6 * row.median for row in some]
        for place, (row, each) in enumerate(zip(some, times, strict=True)):
            if row.floor:
                floor = each / row.distance
                axes.plot([floor, each], [place, place], color=GREY, linewidth=1.5, zorder=1)
                axes.plot(floor, place, "|", color=RED, markersize=14, markeredgewidth=2.5)
            axes.plot(each, place, "o", color=BLUE, markersize=9)
            speed = f"{text.ratio(times[0] / each)} ×"
            axes.annotate(speed, (each, place), (9, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(some)), [row.title for row in some])
        axes.set(title=f"{title}: µs, and the floor in red", xscale="log", ylim=(len(some) - 0.4, -0.6))
        axes.set_xlim(right=2.5 * max(times, default=1.0))
        axes.grid(True, axis="x", alpha=0.3)
    return _say(figure, busy.of_rows(rows))


@plain_style()
def roofline(rows: Sequence[Any], ceilings: Mapping[str, float], title: str) -> Figure:
    """Rows with floors in the plane of operations per byte and operations per second, under the measured roof."""
    figure, (axes,) = _panels(9, 4.2)
    _roof(axes, rows, ceilings, title)
    return _say(figure, busy.of_rows(rows))


@plain_style()
def stored_rooflines() -> Figure | None:
    """The same for every machine whose comparison is stored, GPUs first; None where there is none."""
    found = [one for one in stored_comparisons() if {"bytes_per_s", "flop_per_s"} <= set(one[0].ceilings)]
    if not found:
        return None
    figure, all_axes = _panels(9, 4.2 * len(found), len(found))
    for axes, (machine, device, rows) in zip(all_axes, found, strict=True):
        title = f"{machine.gpu if device == 'cuda' else machine.cpu}, {machine.date}"
        _roof(axes, list(rows.values()), machine.ceilings, title)
    return figure


def _roof(axes: Axes, rows: Sequence[Any], ceilings: Mapping[str, float], title: str) -> None:
    bandwidth, peak = ceilings["bytes_per_s"], ceilings["flop_per_s"]
    points = [(row, row.floor["operations"] / row.floor["bytes"]) for row in rows if row.floor]
    corner = peak / bandwidth
    low = min([each for _, each in points] + [corner]) / 3
    high = max([each for _, each in points] + [corner]) * 3
    axes.loglog([low, corner, high], [bandwidth * low, peak, peak], color=INK, linewidth=2)
    axes.text(high, 1.15 * peak, f"{peak / 1e9:,.0f} GFLOP/s", ha="right", va="bottom")
    slope = f"{bandwidth / 1e9:,.0f} GB/s"
    axes.annotate(slope, (low, bandwidth * low), (6, -12), textcoords="offset points")
    looks = zip(cycle(_MARKS), cycle((BLUE, RED, GOLD, GREEN, GREY)), strict=False)
    for (row, each), (mark, colour) in zip(points, looks, strict=False):
        label = f"{row.title}: {text.ratio(row.distance)} × its floor"
        axes.loglog(each, row.floor["operations"] / row.median, mark, markersize=9, color=colour, label=label)
    axes.set(title=title, xlabel="operations per byte of memory", ylabel="operations per second")
    axes.set_ylim(top=6 * peak)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8.5)
    axes.grid(True, alpha=0.3)
