"""Rows that nobody measured, of every group, to write tables and draw plots from."""

from typing import Any

from benchmarks.rows import Machine, Row

TIMED = {"in": "the steps until the device is done", "out": "compiling"}


def machine(device: str = "cpu", **changes: Any) -> Machine:
    """A made-up CPU, or a made-up GPU called H200."""
    gpu = device == "cuda"
    facts: dict[str, Any] = {
        "name": "made-up-gpu" if gpu else "made-up-cpu", "cpu": "Made Up CPU", "cores": 2,
        "gpu": "NVIDIA H200" if gpu else None, "power_limit_w": 700.0 if gpu else None,
        "driver": "550.1" if gpu else None, "versions": {"python": "3.12.1", "torch": "2.13.0", "numba": "0.68.1"},
        "commit": "abc1234", "date": "2026-01-02", "ceilings": {"bytes_per_s": 1e10, "flop_per_s": 1e11},
    }  # fmt: skip
    return Machine(**(facts | changes))


def row(name: str, median: float, **changes: Any) -> Row:
    """A row whose group, device and work follow from its name; `changes` to fields, other names are conditions."""
    kind, device, *_ = name.split("/")
    usual = {"title": name.rpartition("/")[2], "work": f"one {kind} of 100 images"}
    usual |= {key: changes.pop(key) for key in ("title", "work", "launches", "floor") if key in changes}
    conditions = {
        "units_a_call": 10_000, "size": "full", "data": "MNIST", "dtype": "float32", "batch": 100, "models": 1,
        "images": 50_000, "timed": TIMED,
    }  # fmt: skip
    return Row(
        name=name, group="ladder" if kind in ("step", "accuracy") else kind, device=device, median=median,
        low=0.9 * median, high=1.2 * median, repeats=9, conditions=conditions | changes, **usual,
    )  # fmt: skip


def rows(prefix: str, **medians: float) -> list[Row]:
    """Rows by the rest of their names, whose underscores are hyphens."""
    return [row(f"{prefix}/{name.replace('_', '-')}", median) for name, median in medians.items()]


def ladder(device: str) -> list[Row]:
    """Training, then accuracy."""
    floor = {"bytes": 4e5, "operations": 5e6, "seconds": 5e-5}
    ours, evaluates, counted = "numba", "numba-evaluation", {"torch_operators": 58.5}
    if device == "cuda":
        ours, evaluates = "cooperative", "all-checkpoints"
        counted = {"kernels": 30.0, "copies": 0.0, "host_launches": 31.0}
    step, accuracy = f"step/{device}", f"accuracy/{device}"
    wide = floor | {"operations": 5e7}
    return [
        row(f"{step}/notebook", 2e-3, launches=counted, floor=floor, title="the notebook's loop"),
        row(f"{step}/sliced", 1e-3, launches=counted, floor=floor, title="sliced tensors, nn.Module"),
        row(f"{step}/{ours}", 1e-4, floor=floor, title="breaknet"),
        row(f"{accuracy}/notebook-accuracy", 1.0, extrapolated=True, title="one sample at a time"),
        row(f"{accuracy}/vectorised-accuracy", 5e-3, floor=wide, title="vectorised"),
        row(f"{accuracy}/{evaluates}", 1e-3, title="all checkpoints", models=100, images=60_000),
    ]


def comparisons(device: str) -> list[Row]:
    """One and two networks, curves, evaluation, the classroom, dispatch."""
    ours = "triton" if device == "cuda" else "numba"
    models = {"breaknet": 1e-6, "jax-vmap": 9e-6, "torch-func": 3e-5}
    points = [(1, 10_000), (3, 10_000), (10, 10_000), (10, 1_000), (10, 50_000)]
    return [
        *rows(f"comparison/{device}/one", breaknet=1e-4, jax_scan=4.6e-4),
        *rows(f"comparison/{device}/two", breaknet=5e-5, jax_vmap=4.5e-4),
        *(
            row(
                f"models/{device}/{name}/{count}", t * (1 + 64 / count), title=name, extrapolated=count > 1000
            )
            for count in (1, 4, 16, 64, 256, 1024, 4096)
            for name, t in models.items()
        ),
        *(
            row(f"epochs/{device}/{name}/{epochs}x{images}", t * (1e4 + epochs * images), title=name)
            for epochs, images in points
            for name, t in ((ours, 1e-6), ("torch", 1e-5))
        ),
        *(
            row(f"evaluation/{device}/{name}/{count}x{images}", t * count * images, title=name)
            for count in (100, 1_000)
            for images in (10_000, 60_000)
            for name, t in ((ours, 1e-7), ("torch", 3e-7))
        ),
        *rows(f"classroom/{device}/whole", original=500.0, drop_in=40.0),
        *rows(f"dispatch/{device}/step", torch=5e-5, function=6e-5),
    ]


def lesson(device: str) -> list[Row]:
    """A lesson of 12 s, 7 of them training and evaluation."""
    phases = {
        "torch": 1.7, "imports": 0.4, "data": 0.3, "training": 4.0, "evaluation": 3.0, "fits": 0.1, "total": 10.0,
        "last_figure": 11.5,
    }  # fmt: skip
    return [
        row(f"lesson/{device}/process-warm", 12.0, phases=phases),
        row(f"lesson/{device}/process-cold", 30.0, phases=phases | {"compile": 15.0}),
        row(f"lesson/{device}/compute", 7.0, title="breaknet"),
        row(f"lesson/{device}/notebook", 525.0, title="the notebook's code", extrapolated=True),
    ]


def kernels() -> list[Row]:
    """On a GPU alone."""
    whole = {"models": 132, "images": 50_000, "epochs": 100}
    return [
        row("kernels/cuda/barrier", 1e-6, title="an empty loop", work="one barrier"),
        row("kernels/cuda/packed/training", 0.02, work="one network", **whole),
        row("kernels/cuda/packed/evaluation", 0.03, work="all its checkpoints", **whole),
    ]


def everything(device: str = "cpu") -> list[tuple[Machine, list[Row]]]:
    """All groups of one made-up machine."""
    return [
        (
            machine(device),
            ladder(device) + comparisons(device) + lesson(device) + kernels() * (device == "cuda"),
        )
    ]
