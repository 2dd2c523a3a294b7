"""The course's diagrams, and the style that they share with the plots.

Sizes in them come from the exercises and from the kernels' own plans. A figure shows itself in a notebook.
"""

import io
from contextlib import AbstractContextManager
from typing import Any

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

# Of different lightness, so that colour blindness or a grey printer makes no two alike.
BLUE, RED, GOLD, GREEN, GREY, INK = "#1b4f9c", "#c8352b", "#e0a526", "#3d8b5f", "#9a9a9a", "#1c1c1c"
PALE = {BLUE: "#dbe6f6", RED: "#f8dcd8", GOLD: "#fbefcf", GREEN: "#dcefe3", GREY: "#ececec", INK: "#e4e4e4"}
DPI = 100
_STYLE: dict[Any, Any] = {
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}


def plain_style() -> AbstractContextManager[None]:
    """matplotlib's own defaults and ours, whatever the caller has set; also a decorator."""
    return style.context(_STYLE, after_reset=True)


class CourseFigure(Figure):
    """A figure that a notebook shows without pyplot."""

    def __init__(self, width: float, height: float, **options: Any) -> None:
        """Width and height in inches."""
        super().__init__(figsize=(width, height), dpi=DPI, facecolor="white", **options)
        FigureCanvasAgg(self)

    @plain_style()
    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


class Sketch(CourseFigure):
    """A figure to draw boxes in: no axes, x from 0 to `right`, y from 0 to `top`, upwards."""

    def __init__(self, width: float, height: float, right: float, top: float) -> None:
        super().__init__(width, height)
        self.sheet = self.add_axes((0.01, 0.01, 0.98, 0.98), xlim=(0, right), ylim=(0, top))
        self.sheet.set_axis_off()

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        text: str = "",
        *,
        colour: str = BLUE,
        filled: bool = True,
        hatch: str = "",
        size: float = 10,
    ) -> None:
        """A box with its lower left corner at (x, y) and text in its middle."""
        face = PALE[colour] if filled else "none"
        style = {"facecolor": face, "edgecolor": colour, "linewidth": 1.3, "hatch": hatch}
        self.sheet.add_patch(Rectangle((x, y), width, height, **style))
        if text:
            self.say(x + width / 2, y + height / 2, text, size=size, ha="center")

    def arrow(self, start: tuple[float, float], end: tuple[float, float], colour: str = INK) -> None:
        """A thin arrow."""
        style = {"arrowstyle": "-|>", "mutation_scale": 10, "linewidth": 1.1, "shrinkA": 2, "shrinkB": 2}
        self.sheet.add_patch(FancyArrowPatch(start, end, color=colour, **style))

    def say(self, x: float, y: float, text: str, *, size: float = 10, bold: bool = False, **how: Any) -> None:
        """Text at (x, y), its left middle there unless `ha` and `va` say otherwise."""
        settings = {"ha": "left", "va": "center", "color": INK, "fontsize": size} | how
        self.sheet.text(x, y, text, fontweight="bold" if bold else "normal", **settings)

    def matrix(self, x: float, top: float, width: float, height: float, name: str, shape: str) -> None:
        """The outline of a matrix under its name and shape."""
        self.box(x, top - height, width, height, colour=INK, filled=False)
        self.say(x + width / 2, top + 1.6, f"{name}  [{shape}]", ha="center", va="bottom", bold=True)


@plain_style()
def timeline() -> Figure:
    """The host launches, the GPU computes: many small launches, and one large one. Not to scale."""
    page = Sketch(9, 3.0, 100, 34)
    for top, name, colour in ((29, "host", GREY), (23.4, "GPU", BLUE)):
        page.say(0, top, name)
        for start in range(14, 94, 10):
            if colour == GREY:
                page.box(start, top - 2.2, 8.2, 4.4, "launch", colour=GREY, size=8.5)
            else:
                page.box(start + 8.6, top - 2.2, 2.2, 4.4, colour=BLUE)
    page.say(14, 32.8, "many small kernels: the GPU waits for launches", bold=True)
    page.say(14, 17, "one kernel for the whole run: a single launch", bold=True)
    page.say(0, 13, "host")
    page.box(14, 10.8, 8.2, 4.4, "launch", colour=GREY, size=8.5)
    page.say(0, 7.4, "GPU")
    page.box(22.6, 5.2, 17.6, 4.4, colour=BLUE)
    page.arrow((14, 2), (99, 2))
    page.say(99, 4, "time, not to scale", size=8.5, ha="right")
    return page


@plain_style()
def blocks(count: int = 784, block: int = 128) -> Figure:
    """A tensor of `count` values under blocks of `block`, the last of which hangs over."""
    programs = -(-count // block)
    page = Sketch(9, 1.7, 1.04 * programs * block, 17)
    page.box(0, 9, count, 4, f"{count} values", colour=INK, filled=False)
    for number in range(programs):
        page.box(number * block, 3, block, 4, colour=(BLUE, GOLD)[number % 2])
        page.say((number + 0.5) * block, 1.4, f"program {number}", ha="center", size=9)
    page.box(count, 3, programs * block - count, 4, "masked", colour=GREY, hatch="////", size=9)
    page.say(0, 15.3, f"blocks of {block}", bold=True)
    return page


@plain_style()
def first_maximum() -> Figure:
    """One image's outputs in a block of 16 columns: padding, and two that are equally large."""
    outputs = (0.1, 0.0, 0.3, 0.9, 0.2, 0.0, 0.1, 0.9, 0.4, 0.0)
    largest = outputs.index(max(outputs))
    page = Sketch(9, 1.6, 16.4, 3.2)
    for column in range(16):
        inside = column < len(outputs)
        colour = GREY if not inside else RED if outputs[column] == max(outputs) else BLUE
        text = f"{outputs[column]:.1f}" if inside else "-inf"
        hatch = "" if inside else "////"
        page.box(0.2 + column, 0.9, 0.94, 1.0, text, colour=colour, size=9, hatch=hatch)
        page.say(0.67 + column, 2.3, str(column), ha="center", size=8.5)
    page.say(0.2, 2.95, "the columns of a block; classes are the first ten", bold=True, size=9.5)
    page.say(0.67 + largest, 0.45, "this one", ha="center", size=9)
    page.say(0.67 + outputs.index(max(outputs), largest + 1), 0.45, "not this one", ha="center", size=9)
    return page


@plain_style()
def layer_tiles() -> Figure:
    """The elements that one program of the forward exercise reads and writes, edges included."""
    page = Sketch(9, 3.7, 100, 44)
    page.matrix(3, 37, 42, 30, "x", "B, K")
    page.matrix(54, 37, 14, 30, "W", "N, K, drawn as Wᵀ")
    page.matrix(80, 37, 14, 30, "y", "B, N")
    # the third program's rows; its tile hangs over the lower edge
    page.box(3, 2.5, 42, 10.5, colour=BLUE)
    page.box(15, 2.5, 12, 10.5, colour=GOLD)
    page.box(54, 14, 14, 9, colour=GOLD)
    page.box(80, 2.5, 14, 10.5, colour=RED)
    for x, width in ((3, 42), (80, 14)):
        page.box(x, 2.5, width, 4.5, colour=GREY, hatch="////")
    page.say(46.5, 4.7, "rows past B:\nmasked", size=8.5)
    for x, y, what in ((21, 10, "one step"), (61, 18.5, "one step"), (87, 10, "z in registers")):
        page.say(x, y, what, ha="center", size=8.5)
    page.arrow((27.5, 12), (44, 12), GOLD)
    page.arrow((70.5, 37), (70.5, 7), GOLD)
    page.say(72, 25, "along K", size=8.5, rotation=270, ha="left")
    page.say(
        3, 0.9, "one program: BLOCK_B rows of x, all of W in steps of BLOCK_K, BLOCK_B rows of y", size=9
    )
    return page


@plain_style()
def backward_tiles() -> Figure:
    """The elements that one program of the backward exercise reads and writes."""
    page = Sketch(9, 3.7, 100, 44)
    page.matrix(3, 37, 13, 30, "dz", "B, N")
    page.matrix(26, 37, 42, 30, "x", "B, K")
    page.matrix(26 + 52, 37, 20, 11, "dW", "N, K")
    page.box(3, 21, 13, 9, colour=GOLD)
    page.box(36, 7, 13, 30, colour=BLUE)
    page.box(36, 21, 13, 9, colour=GOLD)
    page.box(82.8, 26, 6.2, 11, colour=RED)
    page.arrow((18.5, 36), (18.5, 8), GOLD)
    page.say(20, 22, "along the batch", size=8.5, rotation=270)
    page.say(9.5, 25.5, "dz = g y (1-y)", ha="center", size=8)
    page.say(42.5, 25.5, "one step", ha="center", size=8.5)
    page.say(79, 21.5, "in registers until\nthe batch is through", size=8.5)
    page.box(78, 9, 20, 3.2, colour=RED)
    page.say(88, 14, "db  [N]", ha="center", bold=True)
    page.say(78, 5.6, "written by program 0 alone", size=8.5)
    page.say(
        3, 2.4, "one program: BLOCK_K columns of x and of dW, the whole batch in steps of BLOCK_B", size=9
    )
    return page


@plain_style()
def partial_sums() -> Figure:
    """Each program its own partial sum, then a sum in a fixed order."""
    page = Sketch(9, 2.9, 100, 34)
    for number in range(4):
        y = 25 - 7 * number
        page.box(12, y, 22, 5.4, f"rows of program {number}", colour=BLUE, size=9)
        page.box(46, y, 12, 5.4, f"partial[{number}]", colour=GOLD, size=9)
        page.arrow((34, y + 2.7), (46, y + 2.7))
        page.arrow((58, y + 2.7), (70, 16.5))
    page.box(70, 13, 26, 7, "((p₀ + p₁) + p₂) + p₃", colour=RED)
    page.say(83, 9.5, "always in this order:\nalways the same bits", ha="center", va="top", size=9)
    page.say(40, 0.8, "store, never add to memory", ha="center", va="bottom", size=9)
    return page


@plain_style()
def cooperative_step() -> Figure:
    """Three phases and two barriers of a training step, several programs in one launch."""
    page = Sketch(9, 3.9, 112, 48)
    names = ("slice 0", "slice 1", "slice 2", "owner of W2", "owner of the rest")
    phase1, phase2, phase3 = (17, 15, 19), (17, 20, 15), (14, 16, 12, 9, 11)
    for number, name in enumerate(names):
        y = 35 - 7 * number
        page.say(0, y + 2.5, name, size=9)
        if number < 3:
            page.box(22, y, phase1[number], 5, "part of x W1ᵀ", colour=BLUE, size=8)
            page.box(45, y, phase2[number], 5, "deltas of rows", colour=GOLD, size=8)
            page.box(69, y, phase3[number], 5, "W1 −= …", colour=RED, size=8)
            page.box(69 + phase3[number], y, 28 - phase3[number], 5, "next step", colour=BLUE, size=8)
        else:
            page.say(31.5, y + 2.5, "waits", size=8.5, color=GREY, ha="center")
            page.say(55, y + 2.5, "waits", size=8.5, color=GREY, ha="center")
            page.box(69, y, phase3[number], 5, "−= …", colour=RED, size=8)
    for x, name in ((43, "barrier 1"), (67, "barrier 2"), (98.5, "barrier 1")):
        page.sheet.plot([x, x], [5, 42], color=INK, linewidth=2.2)
        page.say(x, 44.5, name, ha="center", bold=True, size=9.5)
    for x, what in (
        (31.5, "partials → memory"),
        (55, "deltas → memory"),
        (82.5, "weights stay in registers"),
    ):
        page.say(x, 2.5, what, ha="center", size=8.5)
    return page


@plain_style()
def occupied_sms(sms: int, cooperative: int, name: str) -> Figure:
    """A GPU's SMs: with one run of the cooperative trainer, and with one network each."""
    columns = 20 if sms > 64 else 10
    rows = -(-sms // columns)
    page = Sketch(9, 0.35 * rows + 0.9, 2 * columns + 6, rows + 2.6)
    for left, count, title, colour in (
        (1.0, cooperative, f"one network, {cooperative} programs that wait for each other", BLUE),
        (columns + 5.0, sms, f"{sms} networks, one program each, no barrier", RED),
    ):
        page.say(left, rows + 1.7, title, bold=True, size=9.5)
        for number in range(sms):
            row, column = divmod(number, columns)
            page.box(left + column, rows - row, 0.86, 0.8, colour=colour if number < count else GREY)
    page.say(1, 0.4, f"{name}: a square is an SM; grey ones are idle", size=9)
    return page


@plain_style()
def wide_product(checkpoints: int = 4) -> Figure:
    """The first layers of several checkpoints side by side: one product, each image read once."""
    page = Sketch(9, 3.2, 100, 38)
    page.matrix(3, 31, 30, 24, "x", "images, 784")
    page.box(3, 17, 30, 7, "a block of images", colour=BLUE, size=9)
    page.say(36, 19, "×", size=16)
    width = 40 / checkpoints
    for number in range(checkpoints):
        colour = (GOLD, GREEN, RED, GREY)[number % 4]
        page.box(41 + width * number, 7, width, 24, f"W1ᵀ of\ncheckpoint\n{number}", colour=colour, size=8.5)
    page.say(
        61, 33, f"{checkpoints} checkpoints side by side  [784, {checkpoints} · 16]", ha="center", bold=True
    )
    page.say(83, 19, "= one wide product:\nthe block of images\nis read once for all", size=9)
    page.say(3, 3, "columns 16 c to 16 c + 15 of the result belong to checkpoint c", size=9)
    return page


@plain_style()
def number_formats() -> Figure:
    """The bits of float32 and of TF32."""
    page = Sketch(9, 2.3, 104, 25)
    for y, name, kept in ((14, "float32", 23), (4, "TF32", 10)):
        page.say(0, y + 3, name, bold=True)
        page.box(14, y, 2.6, 6, colour=INK)
        page.box(16.6, y, 2.6 * 8, 6, "8 bits of exponent", colour=GOLD, size=9)
        page.box(37.4, y, 2.6 * kept, 6, f"{kept} bits of mantissa", colour=BLUE, size=9)
        if kept < 23:
            left, width = 37.4 + 2.6 * kept, 2.6 * (23 - kept)
            page.box(left, y, width, 6, "13 bits dropped", colour=GREY, hatch="////", size=9)
    page.say(15.3, 22.5, "sign", ha="center", size=9)
    return page
