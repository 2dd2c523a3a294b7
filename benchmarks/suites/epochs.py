"""A whole `breaknet.train` by epochs and by images, beside the torch reference behind the same call."""

from functools import partial

from benchmarks.contenders import public_calls
from benchmarks.contenders.agreement import checked_trainer
from benchmarks.measure import Contender, Context, Ready
from breaknet import Job, train_many

TITLES = {
    "triton": "breaknet's GPU kernels",
    "numba": "breaknet's CPU kernels",
    "torch": "the plain torch reference",
}


def contenders(context: Context) -> list[Contender]:
    """A curve over epochs, and one over images at the middle one of the epochs."""
    size = context.size
    few = size.epochs[len(size.epochs) // 2]
    points = [("epochs", epochs, size.epochs_images) for epochs in size.epochs]
    points += [("images", few, images) for images in size.images]
    return [
        Contender(
            f"epochs/{context.device}/{backend}/{epochs}x{images}", "epochs", TITLES[backend],
            f"a whole call of breaknet.train: {epochs:,} epochs of {images:,} images", f"epochs/{epochs}x{images}",
            partial(_ready, context, backend, epochs, images), () if backend == "torch" else (backend,),
            series=f"epochs/{context.device}/{backend}/{axis}", scale=epochs * images,
            # the reference is slow on a GPU, and time there is short
            repeats=3 if context.gpu and backend == "torch" else None,
        )
        for axis, epochs, images in points
        for backend in (context.backend, "torch")
    ]  # fmt: skip


def _ready(context: Context, backend: str, epochs: int, images: int) -> Ready:
    size = context.size
    some = [context.training(size.check_steps * size.batch_size)]
    checked_trainer(partial(public_calls.trainer, backend), some, size.check_steps)
    train, valid = context.data.train[:images], context.data.valid[: max(1, images // 5)]
    job = Job(train, valid=valid, epochs=epochs, batch_size=size.batch_size)

    def run() -> None:
        found = train_many([job], backend=backend, device=context.place)[0]
        assert len(found.train_cost) == epochs, f"{len(found.train_cost)} epochs, not {epochs}"

    context.warm_up(run)
    conditions = {
        "batch": size.batch_size, "images": len(train), "valid_images": len(valid), "epochs": epochs, "models": 1,
    }  # fmt: skip
    parts = (
        "moving and compressing data, training, cost and accuracy of both sets after each epoch, checkpoints"
    )
    return Ready(run, conditions=conditions, timed=(parts, "compiling, loading data from disk"))
