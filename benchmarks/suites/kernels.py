"""Measurements that the GPU kernels' design rests on: launches of one epoch and of many, tiles, networks a second."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from benchmarks.contenders import IMPLEMENTATIONS, all_checkpoints, kernel_trainers
from benchmarks.contenders.implementation import prepare_evaluation, prepare_training
from benchmarks.measure import Contender, Context, Ready
from benchmarks.microbenchmarks.barrier import BarrierLoop
from breaknet.kernels import evaluation
from breaknet.kernels._triton import capability_of
from breaknet.kernels.evaluation import Tile
from breaknet.kernels.host.tiles import PackedConfig

ROUNDS = {"rehearse": 3, "quick": 20_000, "full": 100_000}  # of the barrier loop
LONG = {"rehearse": 1, "quick": 10, "full": 100}  # epochs of a whole run
#: Of evaluation, by FMAs and on tensor cores: those that are launched first.
FMA_TILES = (
    evaluation.TILES[16],
    Tile(4, 64, 16, 4, 3),
    Tile(8, 64, 16, 4),
    Tile(8, 64, 16, 8),
    Tile(4, 128, 16, 4),
)
TENSOR_TILES = (
    evaluation.TENSOR_TILES[16],
    Tile(4, 128, 32, 8, 3, "bfloat16"), Tile(4, 128, 32, 4, 3, "bfloat16"), Tile(8, 128, 32, 8, 2, "bfloat16"),
)  # fmt: skip
FLOAT16_TILES = (
    evaluation.TENSOR_TILES_75[16],
    Tile(8, 64, 16, 8, 1, "float16"),
    Tile(4, 128, 16, 8, 1, "float16"),
)


def contenders(context: Context) -> list[Contender]:
    """None on a CPU."""
    if not context.gpu:
        return []
    size, long = context.size, LONG[context.size.name]
    step = f"one training step of {size.batch_size} images"

    def one(name: str, comparison: str, title: str, work: str, prepare: Callable[[], Ready]) -> Contender:
        comparison = f"kernels/{comparison}"
        return Contender(f"kernels/cuda/{name}", "kernels", title, work, comparison, prepare, ("triton",))

    def steps(plan: str, epochs: int) -> Callable[[], Ready]:
        how = IMPLEMENTATIONS[plan]
        return partial(prepare_training, how, context, images=size.train_images, epochs=epochs, launch=plan)

    # without its GPU, of one that has both
    here = capability_of(context.place) if torch.cuda.is_available() else 90
    form = evaluation.tensor_form(torch.uint8, here)
    tiles = {"": FMA_TILES, "bfloat16": TENSOR_TILES + FMA_TILES, "float16": FLOAT16_TILES + FMA_TILES}[form]
    tiles = tiles[:2] if context.rehearsing else tiles
    # a rehearsal's batches are so small that they are for no tensor cores
    forms = kernel_trainers.packed_forms(here, 100 if context.rehearsing else size.batch_size)
    return [
        one("step/one-epoch", "step", "cooperative, an epoch a launch", step, steps("cooperative", 1)),
        one("step/whole-run", "step", f"cooperative, {long} epochs a launch", step, steps("cooperative", long)),
        one("step/split", "step", "three launches a step, replayed as CUDA graphs", step, steps("split", 1)),
        *(
            one(f"tiles/{_name(tile)}", "tiles", "default tile" if tile == tiles[0] else "another tile",
                f"cost and accuracy of one network on {size.evaluated_images:,} images", partial(_tiles, context, tile))
            for tile in tiles
        ),
        *(
            one(f"packed/{name}", "packed-forms", "another form" if number else "default form",
                f"{step}, of one of the networks", partial(_packed_form, context, config))
            for number, (name, config) in enumerate(forms.items())
        ),
        one("packed/training", "packed", "each network by one program, with checkpoints",
            f"one network: {long} epochs of {size.train_images:,} images", partial(_packed, context, long)),
        one("packed/evaluation", "packed-evaluation", "all their checkpoints, one launch",
            f"all {long} checkpoints of one network on {size.evaluated_images:,} images",
            partial(_packed_evaluation, context, long)),
        one("transfer", "transfer", "from page-locked memory, in one piece",
            f"{size.evaluated_images:,} images of bytes moved to the device", partial(_transfer, context)),
        # last, since programs that wait for each other could deadlock
        one("barrier", "barrier", "a counter that all wait for",
            "one meeting of the trainer's programs, no work between", partial(_barrier, context)),
    ]  # fmt: skip


def _barrier(context: Context) -> Ready:
    programs = 1
    if context.place.type == "cuda":
        programs = kernel_trainers.tiles(context.training(context.size.batch_size), "cooperative").programs
    loop = BarrierLoop(programs, ROUNDS[context.size.name], context.place)
    loop.run()
    loop.check()
    timed = "one launch of many meetings, until the device is done", "compiling"
    return Ready(loop.run, loop.rounds, conditions={"programs": programs}, timed=timed)


def _transfer(context: Context) -> Ready:
    """The least time of moving an evaluation's images: `evaluation/cuda/triton` less the launch beside it."""
    problem = context.evaluation(context.size.evaluated_images)
    source = torch.from_numpy(problem.images)
    source = source.pin_memory() if context.place.type == "cuda" else source
    target = torch.empty_like(source, device=context.place)

    def move() -> None:
        target.copy_(source, non_blocking=True)
        problem.wait()

    context.warm_up(move)
    timed = "one copy, until the device is done", "locking the pages"
    return Ready(move, 1, conditions={"bytes": source.nbytes}, timed=timed)


def _tiles(context: Context, tile: evaluation.Tile) -> Ready:
    build = partial(all_checkpoints.evaluator, tile=tile)
    how = replace(IMPLEMENTATIONS["all-checkpoints"], build=build, describe=lambda problem, models: {})
    return prepare_evaluation(how, context, tile=tile._asdict(), form=all_checkpoints.form_of(tile))


def _name(tile: Tile) -> str:
    form = {"": "fma", "bfloat16": "tensor"}.get(tile.tensor, tile.tensor)
    return f"{form}-{tile.block_c}x{tile.block_m}x{tile.block_k}-{tile.warps}-warps-{tile.stages}-stages"


def _packed_form(context: Context, config: PackedConfig) -> Ready:
    """As many networks as train at once in this form; a unit is a step of one of them."""
    how = replace(
        IMPLEMENTATIONS["packed"],
        build=partial(kernel_trainers.packed, config=config),
        models=partial(kernel_trainers.packed_capacity, config=config),
        describe=lambda problem, models: kernel_trainers.form_of(config),
    )
    return prepare_training(how, context, images=context.size.models_images, epochs=20)


def _packed(context: Context, epochs: int) -> Ready:
    """As many networks as train at once; a unit is a whole run of one."""
    images = context.size.train_images
    ready = prepare_training(IMPLEMENTATIONS["packed"], context, images=images, epochs=epochs)
    return ready.grouped(ready.units / ready.conditions["models"])


def _packed_evaluation(context: Context, epochs: int) -> Ready:
    """Evaluation of all their checkpoints, for the networks a second with it; a unit is those of one network."""
    networks = kernel_trainers.packed_capacity(context.training(context.size.train_images))
    how, count = IMPLEMENTATIONS["all-checkpoints"], networks * epochs
    ready = prepare_evaluation(how, context, networks=count, models=networks, checkpoints=count)
    return ready.grouped(epochs)
