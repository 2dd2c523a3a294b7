# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # GPU performance: from minutes to under a second?
#
# The lesson *Breaking a neural network* trains a tiny network: 784 inputs, two hidden layers of 16, ten outputs, in
# batches of 100. Written the usual way it keeps a class waiting for minutes, on a laptop and on a GPU alike. In this
# course you find out where that time goes, and you write the kernels that get it back, one idea at a time:
#
# | | idea | what you write |
# |---|---|---|
# | 1 | where the time goes | |
# | 2 | launch overhead | a first kernel |
# | 3 | fusing a linear layer with its sigmoid | the layer |
# | 4 | its backward | its gradients |
# | 5 | the summed cost | cost and gradient in one pass |
# | 6 | one launch for a whole run | programs that wait for each other |
# | 7 | many models at once | a training loop inside of a kernel |
# | 8 | all checkpoints in one product | the predicted class |
# | 9 | precision | a product of three |
# | 10 | reading the resource report | how many blocks fit |
# | 11 | the floor and the roofline | |
#
# Every exercise has a formula, a picture, a specification of a few lines of torch, an empty kernel, and a checker.
# Everything works without a GPU, where Triton's interpreter runs your kernels on the CPU; on a GPU the same cells
# compile them. Every time and every count in this notebook is taken on your own machine while you read. Where other
# machines' results are stored with the project, they stand beside yours; where none is stored, it says so.
#
# You need Python, some torch, and matrix products. You need not have written a kernel before.

# %% [markdown] tags=["instructor"]
# > **This is the instructor's version.** Solutions are filled in, paragraphs like this one answer the questions, and
# > after each exercise the usual mistakes are shown with what the checker says to them. None of that is in the
# > students' notebook. Two double lessons are about right: sections 1 to 5, then 6 to 11. Those without time for all
# > exercises should do 2, 3 and 5.

# %% [markdown]
# ## Set-up
#
# The course runs from a checkout of the project: it needs `notebooks/course` and `benchmarks` beside the package. On
# Colab, clone the project or upload its whole folder beside this notebook; the next cell then installs breaknet from
# it. Anywhere else that cell does nothing.

# %% tags=["set-up"]
ADDRESS = ""  # scripts/build_notebooks.py writes this cell from scripts/notebook_set_up.py

# %%
import subprocess
import sys
from pathlib import Path


def checkout():
    """The project's folder: this one, one above it, or one within it."""
    for place in (Path.cwd(), *Path.cwd().parents, *Path.cwd().glob("*/")):
        if (place / "notebooks" / "course").is_dir() and (place / "kernels").is_dir():
            return place


if checkout() is None and ADDRESS:
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", ADDRESS], check=True)
if checkout() is None:
    raise FileNotFoundError(
        "Clone the project, or upload its whole folder beside this notebook, then run this again."
    )
sys.path.insert(0, str(checkout()))

# comes before all other imports: it settles whether kernels are compiled or interpreted
from notebooks.course import here

print(here.introduction())

# %%
import torch

from benchmarks import floors
from breaknet.kernels.host.tiles import cooperative_plan
from breaknet.kernels.jobs import Shape
from notebooks.course import checks, checks_in_python, measure, pictures, plots, precision, resources, specs
from notebooks.course.barriers import barrier, dawdle
from notebooks.course.here import DEVICE, tl, triton
from notebooks.course.show import shown
from notebooks.course.timings import ladder, side_by_side

digits = here.digits()
print(f"digits: {digits.source}, {len(digits.train):,} to train on")

# %% tags=["instructor"]
from notebooks.course import wrong  # the usual mistakes

# %% [markdown]
# ## 1 Where the time goes
#
# Before anything is made faster, find out what it does. One step of training asks for three things: the outputs for
# 100 images (forward), how the cost changes with each parameter (backward), and a small change of each parameter
# (update). Here is one such step of a tidy `nn.Module` loop under torch's profiler.

# %%
profile = measure.profile_step(digits.train)
print(profile)
plots.where_time_goes(profile)

# %% [markdown]
# The mathematics of a step is a few matrix products. How long would they take if this machine did nothing but
# multiply and add, at the best rate that it can be brought to?

# %%
rates = measure.ceilings()
step_work = floors.training_step(measure.BATCH)
arithmetic = step_work.operations / rates["flop_per_s"]
print(f"a step is {step_work.operations / 1e6:.1f} million operations (a multiply-add is two);")
print(f"this {DEVICE} has just done {rates['flop_per_s'] / 1e9:,.0f} thousand million a second.")
print(f"The arithmetic would take {1e6 * arithmetic:.1f} µs, the step took {1e6 * profile.seconds:.0f}:")
print(f"{profile.seconds / arithmetic:,.0f} times as long")

# %% [markdown]
# **Question 1.** Which of the operators in the figure does the mathematics ask for, and which are there because
# torch is asked for one small thing at a time? Suppose all matrix products took no time at all: by how much would
# the step be faster?

# %% [markdown] tags=["instructor"]
# > **Answer.** Products, sigmoids, the cost, sums and updates are the mathematics. Views, transposes, fills, copies
# > and detaches are how it is asked for; so is Python itself, of which the profiler's operators show nothing. A part
# > that takes the share *s* of the time can make the whole faster by 1 / (1 − s) at most, which the next cell works
# > out. Compare it with the factor above: even a product that took no time would leave most of the way to go.

# %% tags=["instructor"]
share = profile.shares["matrix products"]
print(f"matrix products are {share:.0%} of the time within operators;")
print(f"without them the step would be {1 / (1 - share):.1f} times as fast, at most")

# %% [markdown]
# ## 2 Launch overhead
#
# To add 1 to a tensor, Python calls torch, torch looks at types, shapes and strides, finds the code to run, makes
# room for the result; on a GPU it then puts a *launch* of a kernel into a queue. Only then does somebody add. The
# price of the call does not depend on how much there is to do.

# %%
calls = measure.overhead()
print(f"one call costs {1e6 * calls.call:.1f} µs, whatever it is asked to do")
asking = profile.calls * calls.call
print(f"a step asks {profile.calls:.0f} times: {1e6 * asking:.0f} µs, if every call cost that")
print(f"the work outweighs its call {calls.worth_it};")
print(f"a batch of a hidden layer's outputs has {100 * 16:,}")
plots.overhead_curve(calls)

# %% [markdown]
# So the way out is not to do each thing faster but to ask less often. That is what the rest of this course is about.

# %%
pictures.timeline()

# %% [markdown]
# Here is how far one gets without writing a kernel. The notebook's loop feeds images one by one through a
# `DataLoader`; slices of one tensor save that. Gradients written out by hand save autograd's bookkeeping. A CUDA
# graph records a step's launches once and then plays them back with a single call; `torch.compile` generates kernels.

# %%
side_by_side("notebook", "sliced", "hand-written", "cuda-graph", "compiled")

# %% [markdown]
# ### Exercise 1: bytes to numbers
#
# MNIST's pixels are bytes; the network wants byte / 256 as float32. In torch, `pixels.float() / 256` is two calls,
# and a tensor of floats that is written only to be read again. Your first kernel does it in one launch.
#
# A kernel is written for one *program*, which works on a block of values at once, and is launched as a *grid* of
# many. A program learns its number from `tl.program_id(0)` and works out which values are its own:
# `tl.arange(0, BLOCK)` is the block of numbers 0 to BLOCK − 1. It loads a block from memory by adding such numbers
# to a pointer, computes with it in *registers*, the memory within the processor, and stores the result. Blocks have
# sizes that are powers of two, and tensors do not: so a *mask* says which values exist. What is masked out is
# neither read nor written, and counts as `other`.
#
# $$x_i = \mathrm{pixel}_i / 256$$

# %%
pictures.blocks(784, 128)

# %%
shown(specs.scale_bytes_spec)


# %% tags=["student", "exercise-scale"]
@triton.jit
def scale_kernel(pixel_ptr, x_ptr, count, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    # which of these places exist, that is lie below count?
    # load their bytes with tl.load(pointer, mask=..., other=0)
    # make float32 of them with .to(tl.float32), divide
    # store them with tl.store(pointer, values, mask=...)


# %% tags=["instructor", "exercise-scale"]
@triton.jit
def scale_kernel(pixel_ptr, x_ptr, count, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    pixel = tl.load(pixel_ptr + place, mask=inside, other=0)
    tl.store(x_ptr + place, pixel.to(tl.float32) / 256, mask=inside)


# %% [markdown]
# The checker launches your kernel on several sizes, most of them no multiple of the block. It fills the output with
# garbage beforehand and surrounds it with more, so that it sees what was not written and what was written in excess;
# it surrounds the inputs with NaN, so that it sees what was read in excess; and it compares with float64. (On a GPU, a
# program that reaches far outside can end the session with an *illegal memory access*: restart it then.)

# %%
checks.scale(scale_kernel)

# %% tags=["instructor"]
wrong.table("scale")

# %% [markdown]
# **Question 2.** How many programs does the launch of 784 pixels in blocks of 128 have, and how many values does the
# last one mask out? What would happen without the mask in `tl.store`?

# %% [markdown] tags=["instructor"]
# > **Answer.** 7 programs, of which the last masks out 7 · 128 − 784 = 112 values. Without the mask it would
# > overwrite whatever lies behind the tensor; nothing would raise, and some other tensor would be wrong later.

# %% [markdown]
# ## 3 Fusing a linear layer with its sigmoid
#
# A layer is a product, a sum and a sigmoid. In torch these are calls of their own, and between two of them the whole
# batch of results goes out to memory and comes back. A program that has a block of sums in its registers can add the
# bias and take the sigmoid there and then, at no cost in memory.
#
# $$y = \sigma(x W^{\mathsf{T}} + b), \qquad \sigma(z) = \frac{1}{1 + e^{-z}}$$

# %%
x, w, b = (torch.rand(*shape, device=DEVICE) for shape in ((100, 784), (16, 784), (16,)))
print("as torch:           ", measure.counted(lambda: torch.sigmoid(x @ w.T + b)))
print("breaknet's operator:", measure.counted(lambda: torch.ops.breaknet.linear_sigmoid(x, w, b)))
print(f"a result between two calls is written and read: {2 * 4 * 100 * 16:,} bytes for a batch")

# %%
pictures.layer_tiles()

# %%
shown(specs.linear_sigmoid_spec)

# %% [markdown]
# ### Exercise 2: the layer
#
# Program *p* computes rows `p * BLOCK_B` and on of `y`, all of its columns (there are at most `BLOCK_N`). It walks
# along `inputs` in steps of `BLOCK_K`, and adds up products of blocks: `tl.dot(a, b, z, input_precision="ieee")` is
# `a @ b + z` for blocks, in float32 (section 9 is about what else there is). All tensors lie row by row: the value
# in row *r* and column *k* of `x` stands at `x_ptr + r * inputs + k`. `row[:, None]` is a column of numbers,
# `k[None, :]` a row of them, and their sum a whole block of places.


# %% tags=["student", "exercise-forward"]
@triton.jit
def linear_sigmoid_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr, batch, inputs, outputs,
    BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    unit = tl.arange(0, BLOCK_N)
    z = tl.zeros([BLOCK_B, BLOCK_N], tl.float32)
    for first in range(0, inputs, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        # load the block of x [BLOCK_B, BLOCK_K]: which rows and which k exist?
        # load the block of W as [BLOCK_K, BLOCK_N]: which is the row of weight_ptr, which the column?
        # z = tl.dot(...)
    # load the bias, add it, take the sigmoid (tl.exp), store what exists


# %% tags=["instructor", "exercise-forward"]
@triton.jit
def linear_sigmoid_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr, batch, inputs, outputs,
    BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    unit = tl.arange(0, BLOCK_N)
    z = tl.zeros([BLOCK_B, BLOCK_N], tl.float32)
    for first in range(0, inputs, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        x_inside = (row < batch)[:, None] & (k < inputs)[None, :]
        x = tl.load(x_ptr + row[:, None] * inputs + k[None, :], mask=x_inside, other=0.0)
        w_inside = (unit < outputs)[None, :] & (k < inputs)[:, None]
        w = tl.load(weight_ptr + unit[None, :] * inputs + k[:, None], mask=w_inside, other=0.0)
        z = tl.dot(x, w, z, input_precision="ieee")
    bias = tl.load(bias_ptr + unit, mask=unit < outputs, other=0.0)
    y = 1 / (1 + tl.exp(-(z + bias[None, :])))
    y_inside = (row < batch)[:, None] & (unit < outputs)[None, :]
    tl.store(y_ptr + row[:, None] * outputs + unit[None, :], y, mask=y_inside)


# %%
checks.forward(linear_sigmoid_kernel)

# %% tags=["instructor"]
wrong.table("forward")

# %% [markdown]
# Yours is the project's kernel (`kernels/linear_sigmoid.py`) but for what that one must also take: tensors with any
# strides, layers without a bias or wider than one block, and places beyond 2³¹.
#
# **Question 3.** 784 is no multiple of 32, so the last step along `inputs` is half empty. Which of the two masks on
# `k` could you drop without changing the result, and what would the other one have to guarantee?

# %% [markdown] tags=["instructor"]
# > **Answer.** Zero times anything finite is zero, so one of the two would do, provided that what the other operand
# > loads beyond the edge is finite. It need not be: behind the last row lies memory that belongs to somebody else,
# > and 0 · NaN is NaN. That is why the checker surrounds inputs with NaN, and why both masks stay.

# %% [markdown]
# ## 4 Its backward
#
# Training needs the layer's gradients. From *g* (`grad`), the cost's derivative by each *y*, the chain rule gives
#
# $$dz = g\, y\,(1 - y), \qquad dW = dz^{\mathsf{T}} x, \qquad db = \sum_{b} dz_b$$
#
# Two things make it cheap. The sigmoid's derivative can be had from its *output*: σ′(z) = y (1 − y). So the forward
# pass need not keep *z*. And `dz` is needed nowhere but here, so that it never has to leave the registers.

# %%
layer = torch.nn.Linear(784, 16, device=DEVICE)
grad, y = torch.rand(100, 16, device=DEVICE), torch.sigmoid(layer(x)).detach()
output = torch.sigmoid(layer(x))
parameters_backward = torch.ops.breaknet.linear_sigmoid_backward_parameters
print("autograd's backward of the layer:", measure.counted(lambda: output.backward(grad)))
print("breaknet's operator:             ", measure.counted(lambda: parameters_backward(grad, y, x)))

# %%
pictures.backward_tiles()

# %%
shown(specs.linear_sigmoid_backward_spec)

# %% [markdown]
# ### Exercise 3: its gradients
#
# The long axis is another one now: every program owns `BLOCK_K` columns of `dW` and walks along the *batch*.
# `tl.trans` transposes a block, `tl.sum(block, 0)` sums over its rows. `db` does not depend on the program's columns,
# so let program 0 alone store it.


# %% tags=["student", "exercise-backward"]
@triton.jit
def linear_sigmoid_backward_kernel(
    grad_ptr, y_ptr, x_ptr, dweight_ptr, dbias_ptr, batch, inputs, outputs,
    BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    unit = tl.arange(0, BLOCK_N)
    dweight = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
    dbias = tl.zeros([BLOCK_N], tl.float32)
    for first in range(0, batch, BLOCK_B):
        row = first + tl.arange(0, BLOCK_B)
        # load the blocks of grad and y [BLOCK_B, BLOCK_N], compute dz
        # load the block of x [BLOCK_B, BLOCK_K], add to dweight and to dbias
    # store both


# %% tags=["instructor", "exercise-backward"]
@triton.jit
def linear_sigmoid_backward_kernel(
    grad_ptr, y_ptr, x_ptr, dweight_ptr, dbias_ptr, batch, inputs, outputs,
    BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    unit = tl.arange(0, BLOCK_N)
    dweight = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
    dbias = tl.zeros([BLOCK_N], tl.float32)
    for first in range(0, batch, BLOCK_B):
        row = first + tl.arange(0, BLOCK_B)
        place = row[:, None] * outputs + unit[None, :]
        inside = (row < batch)[:, None] & (unit < outputs)[None, :]
        grad = tl.load(grad_ptr + place, mask=inside, other=0.0)
        y = tl.load(y_ptr + place, mask=inside, other=0.0)
        dz = grad * y * (1 - y)
        x_inside = (row < batch)[:, None] & (k < inputs)[None, :]
        x = tl.load(x_ptr + row[:, None] * inputs + k[None, :], mask=x_inside, other=0.0)
        dweight = tl.dot(tl.trans(dz), x, dweight, input_precision="ieee")
        dbias += tl.sum(dz, 0)
    w_inside = (unit < outputs)[:, None] & (k < inputs)[None, :]
    tl.store(dweight_ptr + unit[:, None] * inputs + k[None, :], dweight, mask=w_inside)
    if tl.program_id(0) == 0:
        tl.store(dbias_ptr + unit, dbias, mask=unit < outputs)


# %%
checks.backward(linear_sigmoid_backward_kernel)

# %% tags=["instructor"]
wrong.table("backward")

# %% [markdown]
# **Question 4.** There is a third gradient, `dx = dz W`, for the layer before. The lesson's first layer is the only
# one that never asks for it: why? How many multiply-adds does that save, as a share of the whole step?

# %% [markdown] tags=["instructor"]
# > **Answer.** Before the first layer there are only images, and nobody trains those. `dx` of the first layer would
# > be as many multiply-adds as its forward pass; the next cell works out the share.

# %% tags=["instructor"]
first_layer = 2.0 * 100 * 784 * 16
print(f"dx of the first layer would add {first_layer / step_work.operations:.0%} to a step's operations")

# %% [markdown]
# ## 5 The summed cost
#
# The lesson's cost is the sum of the squared differences between outputs and target, where the target is 1 at the
# label and 0 elsewhere. Its gradient uses the same differences, so one pass can give both. And the target need not
# be built: whether a column is the label is a comparison of two numbers.
#
# $$C = \sum_{b,c} (p_{bc} - t_{bc})^2, \qquad \frac{\partial C}{\partial p_{bc}} = 2\,(p_{bc} - t_{bc})$$
#
# There is a catch. Every program has a sum of its own rows, and one sum of them all is wanted. Could they not all
# add theirs to one number in memory (an *atomic* addition)? The total would be right, and different every time:
# floating-point sums depend on the order, and the order would be the one in which programs happen to finish.

# %%
different, spread = measure.order_matters()
print("the same 1,000 float32 numbers, summed in 200 random orders:")
print(f"{different} different sums, up to {spread:.0e} of the sum apart")

# %%
pictures.partial_sums()

# %% [markdown]
# So every program stores its own partial sum, and something adds those up in an order that is always the same
# (`kernels/ordered_sum.py`). Two runs then agree to the last bit, and a difference between two runs is a bug.

# %%
shown(specs.summed_cost_spec)

# %% [markdown]
# ### Exercise 4: cost and gradient in one pass
#
# One program takes `BLOCK_B` rows (the spec's `rows`) and stores its gradients and its partial sum, at
# `partial_ptr + tl.program_id(0)`. Mind the columns past `classes` and the rows past `batch`: they must add nothing.
# `tl.where(condition, a, b)` chooses value by value.


# %% tags=["student", "exercise-cost"]
@triton.jit
def summed_cost_kernel(
    prediction_ptr, label_ptr, gradient_ptr, partial_ptr, batch, classes,
    BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    column = tl.arange(0, BLOCK_C)
    # load the predictions [BLOCK_B, BLOCK_C] and the labels [BLOCK_B]
    # the target: where is the column the label?
    # store the gradient, then the sum of the squares of what exists


# %% tags=["instructor", "exercise-cost"]
@triton.jit
def summed_cost_kernel(
    prediction_ptr, label_ptr, gradient_ptr, partial_ptr, batch, classes,
    BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    column = tl.arange(0, BLOCK_C)
    place = row[:, None] * classes + column[None, :]
    inside = (row < batch)[:, None] & (column < classes)[None, :]
    prediction = tl.load(prediction_ptr + place, mask=inside, other=0.0)
    label = tl.load(label_ptr + row, mask=row < batch, other=-1)
    target = (label[:, None] == column[None, :]).to(tl.float32)
    difference = tl.where(inside, prediction - target, 0.0)
    tl.store(gradient_ptr + place, 2 * difference, mask=inside)
    tl.store(partial_ptr + tl.program_id(0), tl.sum(tl.sum(difference * difference, 1), 0))


# %%
checks.cost(summed_cost_kernel)

# %% tags=["instructor"]
wrong.table("cost")

# %% [markdown]
# With these three kernels a whole step asks less often, even under torch's autograd:

# %%
print("an nn.Module step:        ", measure.counted(measure.module_step(digits.train)))
print("with the three operators: ", measure.counted(measure.fused_step(digits.train)))
side_by_side("sliced", "fused")

# %% [markdown]
# **Question 5.** A colleague leaves out the factor 2 of the gradient, "since it only scales the learning rate". Would
# a plot of the training cost give that away? Would a comparison with float64?

# %% [markdown] tags=["instructor"]
# > **Answer.** The curves would look sound: it is a training run at half the learning rate. Only a comparison of
# > single steps, digit by digit, tells it from a right one. The project's tests do that for every kernel, with
# > float64 as the judge.

# %% [markdown]
# ## 6 One launch for a whole run
#
# Fused kernels still have to be launched for every step: parameters are read from memory, changed, written back, and
# the host is asked again. How often, in a training run of the lesson?

# %%
steps = 100 * (50_000 // 100)
print(f"100 epochs are {steps:,} steps, which ask torch {steps * profile.calls:,.0f} times")
shape = Shape(784, 16, 16, 10)
print(f"{shape} has {shape.parameters:,} parameters, {4 * shape.parameters:,} bytes")
print(f"the registers of one multiprocessor hold {4 * 65_536:,} bytes")

# %% [markdown]
# The whole network fits the registers of a single multiprocessor. So let a kernel keep it there and take all the
# steps of all the epochs by itself: one launch for a run.
#
# **Why registers?** What a kernel has in registers costs nothing to reach, and is lost when the kernel ends. Only a
# kernel that does not end can keep its weights there from step to step.
#
# **Why barriers?** One multiprocessor would hold the network but compute slowly: the first layer's product is shared
# out. Each program takes a *slice* of the inputs and keeps that slice of the first layer's weights. But every slice
# gives only a part of each sum, and before the sigmoid somebody must have them all. Where launches are separate, the
# end of one is the point at which all results are there. Within a launch we have to make such points ourselves.

# %%
for capability, processors in ((75, 40), (80, 108), (90, 132)):  # as a T4, an A100, an H100
    plan = cooperative_plan(shape, 100, capability, processors)
    cut = f"{plan.slices(shape)} slices of {plan.input_block} inputs"
    print(f"sm_{capability} with {processors} multiprocessors: {cut}, {plan.programs(shape)} programs")
pictures.cooperative_step()

# %% [markdown]
# A **barrier** is a number in memory. Whoever comes to it adds 1 (an atomic addition of an *integer*, for which the
# order does not matter) and then looks again and again until all have arrived. If the number only ever grows, barrier
# *n* is open once it has reached *n* times the number of programs.
#
# **Why two of them?** Results of phase 1 are read in phase 2 by others: a barrier in between. And memory that
# somebody still reads must not be overwritten by the next step: another barrier. With the right order of things two
# are enough for a whole step, as `kernels/cooperative_training.py` argues in its first lines.
#
# **Why must all programs run at once?** A program that waits does not make room. If some programs of the launch have
# not started yet, because the GPU is full of waiting ones, they will never start. A *cooperative* launch is one that
# the driver refuses unless all fit; that is why the plan above looks at the number of multiprocessors.
#
# **Why no atomics for the sums?** For the reason in section 5: they would make every run different.
#
# ### Exercise 5: programs that wait for each other
#
# Here is the skeleton of that trainer, without its mathematics. Every program has a row of numbers in registers.
# Each round it puts the row where others can see it, reads all rows, and moves half way to their mean:
#
# $$v_p \leftarrow \frac{1}{2} v_p + \frac{1}{2} \cdot \frac{1}{P} \sum_q v_q$$

# %%
shown(specs.rounds_spec)

# %% [markdown]
# All of it is written but for the waiting: add the barriers. `barrier(counter_ptr, arrivals, INTERPRETED)` arrives
# and goes on once `arrivals` have been counted in all since the launch began. `dawdle` makes the last program slow,
# as on a real machine one always is somewhere. (Without a GPU, the checker runs each program as a process of its own
# on shared memory: the counter is real, and so is the waiting.)


# %% tags=["student", "exercise-rounds"]
@triton.jit
def rounds_kernel(
    value_ptr, shared_ptr, result_ptr, counter_ptr, rounds, slow, first_program,
    PROGRAMS: tl.constexpr, WIDTH: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0) + first_program
    lane = tl.arange(0, WIDTH)
    own = tl.load(value_ptr + program * WIDTH + lane)  # stays in registers for all rounds
    for _ in range(rounds):
        tl.store(shared_ptr + program * WIDTH + lane, own)
        dawdle(counter_ptr, program, slow, PROGRAMS)
        total = tl.zeros([WIDTH], tl.float32)
        for other in range(PROGRAMS):  # in the same order everywhere
            total += tl.load(shared_ptr + other * WIDTH + lane)
        own = 0.5 * own + 0.5 * (total / PROGRAMS)
    tl.store(result_ptr + program * WIDTH + lane, own)


# %% tags=["instructor", "exercise-rounds"]
@triton.jit
def rounds_kernel(
    value_ptr, shared_ptr, result_ptr, counter_ptr, rounds, slow, first_program,
    PROGRAMS: tl.constexpr, WIDTH: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0) + first_program
    lane = tl.arange(0, WIDTH)
    own = tl.load(value_ptr + program * WIDTH + lane)  # stays in registers for all rounds
    arrivals = 0
    for _ in range(rounds):
        tl.store(shared_ptr + program * WIDTH + lane, own)
        arrivals += PROGRAMS
        barrier(counter_ptr, arrivals, INTERPRETED)  # all have written
        dawdle(counter_ptr, program, slow, PROGRAMS)
        total = tl.zeros([WIDTH], tl.float32)
        for other in range(PROGRAMS):  # in the same order everywhere
            total += tl.load(shared_ptr + other * WIDTH + lane)
        own = 0.5 * own + 0.5 * (total / PROGRAMS)
        arrivals += PROGRAMS
        barrier(counter_ptr, arrivals, INTERPRETED)  # all have read
    tl.store(result_ptr + program * WIDTH + lane, own)


# %%
checks.rounds(rounds_kernel)

# %% tags=["instructor"]
wrong.table("rounds")

# %%
side_by_side("sliced", "fused", "persistent", "numba")

# %% [markdown]
# The last line is the same idea on a CPU: one compiled call trains for whole epochs, with a core's caches in the place
# of registers. It also leaves out the pixels that are zero, and most are.
#
# **Question 6.** Give every program two rows of shared memory, and let it use them in turn, one in even rounds, the
# other in odd ones. Which of the two barriers can go?

# %% [markdown] tags=["instructor"]
# > **Answer.** The second. A program overwrites in round r + 2 what others read in round r, and between the two lies
# > the first barrier of round r + 1, which nobody passes before all have finished reading in round r. The trainer
# > has its second barrier for free: what lies between them, the deltas, is an exchange of its own.

# %% [markdown]
# ## 7 Many models at once
#
# A single model leaves much of a GPU idle, however well it is trained: its programs wait for each other twice a step,
# and there are more multiprocessors than it has work for. Suppose you want *many* models, for other labels, other
# learning rates, other starts. Then nobody needs to wait: give each model a program of its own, and let the programs
# run side by side.

# %%
t4 = cooperative_plan(shape, 100, 75, 40)
pictures.multiprocessors(40, t4.programs(shape), "a GPU of 40 multiprocessors, such as a T4")

# %% [markdown]
# Even where no program is written, many models in one call are cheaper than a call for each:

# %%
batched = measure.many_small_layers()
gain = batched.alone[-1] / batched.together[-1]
print(f"{batched.models[-1]} models in one call: each {gain:.1f} times faster than by its own")
plots.models_curve(batched)

# %% [markdown]
# ### Exercise 6: a training loop inside of a kernel
#
# Put sections 3 to 6 together. Program *m* trains model *m*: one layer with sigmoids, without a bias (the last input
# is a constant 1, so that its weights are one). The weights are loaded once, stay in registers for the whole epoch,
# and are stored at the end. All models see the same images; labels, rate and start are their own.
#
# $$y = \sigma(x W_m^{\mathsf{T}}), \qquad dz = 2\,(y - t_m)\, y\,(1 - y), \qquad
# W_m \leftarrow W_m - r_m\, dz^{\mathsf{T}} x$$

# %%
shown(specs.train_many_spec)


# %% tags=["student", "exercise-train_many"]
@triton.jit
def train_many_kernel(
    image_ptr, label_ptr, rate_ptr, weight_ptr, trained_ptr, examples, inputs, outputs,
    BATCH: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    model = tl.program_id(0)
    k = tl.arange(0, BLOCK_K)
    unit = tl.arange(0, BLOCK_N)
    # load this model's weights as [BLOCK_N, BLOCK_K]: where do they begin? load its rate
    for first in range(0, examples, BATCH):
        row = first + tl.arange(0, BATCH)
        # load the images [BATCH, BLOCK_K] and this model's labels [BATCH]
        # forward, then dz = 2 (y - target) y (1 - y), then the update
    # store the weights


# %% tags=["instructor", "exercise-train_many"]
@triton.jit
def train_many_kernel(
    image_ptr, label_ptr, rate_ptr, weight_ptr, trained_ptr, examples, inputs, outputs,
    BATCH: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    model = tl.program_id(0)
    k = tl.arange(0, BLOCK_K)
    unit = tl.arange(0, BLOCK_N)
    place = (model * outputs + unit[:, None]) * inputs + k[None, :]
    exists = (unit < outputs)[:, None] & (k < inputs)[None, :]
    weight = tl.load(weight_ptr + place, mask=exists, other=0.0)  # stays in registers
    rate = tl.load(rate_ptr + model)
    for first in range(0, examples, BATCH):
        row = first + tl.arange(0, BATCH)
        x_inside = (row < examples)[:, None] & (k < inputs)[None, :]
        x = tl.load(image_ptr + row[:, None] * inputs + k[None, :], mask=x_inside, other=0.0)
        label = tl.load(label_ptr + model * examples + row, mask=row < examples, other=-1)
        y = 1 / (1 + tl.exp(-tl.dot(x, tl.trans(weight), input_precision="ieee")))
        target = (label[:, None] == unit[None, :]).to(tl.float32)
        dz = 2 * (y - target) * y * (1 - y)
        weight -= rate * tl.dot(tl.trans(dz), x, input_precision="ieee")
    tl.store(trained_ptr + place, weight, mask=exists)


# %%
checks.train_many(train_many_kernel)

# %% tags=["instructor"]
wrong.table("train_many")

# %%
side_by_side("persistent", "many-models")

# %% [markdown]
# **Question 7.** Rows past the last batch have a `dz` that is not zero: y is ½ there and the target 0. Why does that
# do no harm here, and why would it if the layer had a bias of its own?

# %% [markdown] tags=["instructor"]
# > **Answer.** `dz` enters the update as dzᵀ x, and those rows of x were loaded as zeros, the constant 1 included. The
# > gradient of a separate bias is the sum of dz over the rows: there they would count. The project's trainer, which
# > puts the constant 1 in itself, therefore sets the deltas of such rows to zero.

# %% [markdown]
# ## 8 All checkpoints in one product
#
# The lesson judges the network as it was after every epoch: 100 checkpoints on 60,000 images. The original loop
# compares predictions one image at a time. The remedy is the one you know, ask less often; but there is more to gain.
# Every checkpoint looks at the *same* images. Put the first layers of several side by side, and one wide product gives
# the hidden units of them all, while each image is read once.

# %%
pictures.wide_product()

# %%
for models in (1, 4, 100):
    work = floors.scoring(60_000, models=models, image_bytes=784.0, label_bytes=4.0)
    each = work.operations / work.bytes
    print(f"{models:3} checkpoints together: {each:6,.0f} operations for each byte read")
corner = rates["flop_per_s"] / rates["bytes_per_s"]
print(f"this machine can do {corner:.0f} operations in the time in which it moves a byte")

# %% [markdown]
# Below that last number, memory is what a program waits for; above it, arithmetic.
#
# ### Exercise 7: the predicted class
#
# The class with the largest output is the prediction, and of several equal ones the *first*, as `torch.argmax` says.
# Equal outputs are no oddity: sigmoids that have saturated are all exactly 1. Launched with as many programs as there
# are blocks of images, times checkpoints: `tl.program_id(1)` is the checkpoint. Triton has a `tl.argmax`; do without
# it, to see what it must take care of.
#
# $$\mathrm{predicted} = \min\,\{\, c : y_c = \max_k y_k \,\}$$

# %%
pictures.first_maximum()

# %%
shown(specs.first_maximum_spec)


# %% tags=["student", "exercise-first_maximum"]
@triton.jit
def first_maximum_kernel(
    output_ptr, predicted_ptr, images, classes, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr
):  # fmt: skip
    image = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    checkpoint = tl.program_id(1)
    column = tl.arange(0, BLOCK_C)
    # load this checkpoint's outputs [BLOCK_B, BLOCK_C]: what must columns past the last class be?
    # the largest of each row, then the least column at which it stands
    # store one int32 an image


# %% tags=["instructor", "exercise-first_maximum"]
@triton.jit
def first_maximum_kernel(
    output_ptr, predicted_ptr, images, classes, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr
):  # fmt: skip
    image = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    checkpoint = tl.program_id(1)
    column = tl.arange(0, BLOCK_C)
    place = (checkpoint * images + image)[:, None] * classes + column[None, :]
    inside = (image < images)[:, None] & (column < classes)[None, :]
    output = tl.load(output_ptr + place, mask=inside, other=-float("inf"))
    largest = tl.max(output, 1)
    candidate = tl.where(output == largest[:, None], column[None, :], BLOCK_C)
    tl.store(predicted_ptr + checkpoint * images + image, tl.min(candidate, 1), mask=image < images)


# %%
checks.first_maximum(first_maximum_kernel)

# %% tags=["instructor"]
wrong.table("first_maximum")

# %%
side_by_side("notebook-accuracy", "vectorised-accuracy", "numba-evaluation", "all-checkpoints")

# %% [markdown]
# **Question 8.** By the operations and bytes above, does it pay on your machine to read each image once for all? And
# what does your kernel answer for an image whose outputs are all NaN, as those of a network are that has diverged?
# What does `torch.argmax` answer?

# %% [markdown] tags=["instructor"]
# > **Answer.** It pays where one checkpoint by itself does fewer operations a byte than the machine can. A CPU is often
# > past that point, and then only the saved calls count. As for NaN: it equals nothing, so no column is a candidate and
# > the answer is BLOCK_C, a class that does not exist; `torch.argmax` counts NaN as the largest value and answers 0.
# > `kernels/evaluation.py` ranks NaN above everything, so that both agree.

# %% [markdown]
# ## 9 Precision
#
# Newer GPUs have *tensor cores*, which multiply blocks many times faster, if their operands are rounded first. The
# format offered for float32 is TF32: float32's range, with 10 of its 23 bits of mantissa. Triton's `tl.dot` uses it
# unless it is told otherwise. What would it do to a training step?

# %%
pictures.number_formats()

# %% [markdown]
# No tensor core is needed to find out: round both operands of every product to 10 bits, then multiply and add in
# float32. The judge is the same step in float64. The project's contract lets a step err by 1e-5 of the update and
# 1e-7 of the parameter, for each tensor, and the cost of many images by 1e-6 of itself.

# %%
pixels = torch.from_numpy(digits.train.images[:100].copy()).float() / 256
labels = torch.from_numpy(digits.train.labels[:100].copy())
start = here.trained(digits)
changed = int((precision.to_tf32(pixels) != pixels).sum())
print(f"rounding to TF32 changes {changed} of {pixels.numel():,} pixels, and most of the weights")
errors = precision.step_errors(start, pixels, labels)
for way in precision.WAYS:
    worst = max((error for error in errors if error.way == way), key=lambda error: error.share)
    print(f"{way:22} worst in {worst.parameter:15}: {worst.share:8.3f} of what is allowed")
plots.precision_bars(errors)

# %%
judged = torch.from_numpy(digits.valid.images).float() / 256, torch.from_numpy(digits.valid.labels)
for way, error in precision.cost_errors(start, *judged).items():
    print(f"{way:22} cost of {len(digits.valid):,} images: {error / 1e-6:8.3f} of what is allowed")

# %% [markdown]
# Would you see it in the lesson's curves? Hardly. But nobody could tell such a run from one with a small bug, and
# the project's tests, which hold every kernel to float64, would have to look away from anything smaller than TF32's
# error. That is why every `tl.dot` here says `input_precision="ieee"`.
#
# ### Exercise 8: a product of three
#
# Tensor cores can still be used, for the price of three products. A float32 number is the sum of two TF32 numbers,
# a = aₕ + aₗ, up to the last bits: aₕ is *a* rounded, aₗ the rest. Then
#
# $$a\,b = a_h b_h + a_h b_l + a_l b_h + a_l b_l$$
#
# and the last term is smaller than float32 can see. Write it with `product(a, b)`, which rounds its operands to TF32
# as tensor cores do, and `to_tf32`.

# %%
shown(specs.split_product_spec)


# %% tags=["student", "exercise-split_product"]
def split_product(a, b, product, to_tf32):
    """a [B, K] times b [K, N], as good as float32, with `product` as the only product there is."""


# %% tags=["instructor", "exercise-split_product"]
def split_product(a, b, product, to_tf32):
    """a [B, K] times b [K, N], as good as float32, with `product` as the only product there is."""
    a_high, b_high = to_tf32(a), to_tf32(b)
    a_low, b_low = a - a_high, b - b_high
    return product(a_high, b_high) + (product(a_high, b_low) + product(a_low, b_high))


# %%
checks_in_python.split_product(split_product)

# %% tags=["instructor"]
wrong.table("split_product")

# %% [markdown]
# **Question 9.** Why did not a single pixel change? What follows for the number of products that the first layer
# needs?

# %% [markdown] tags=["instructor"]
# > **Answer.** A pixel is a byte over 256: 8 significant bits, and TF32 keeps 11 (10 and the leading one). So x has no
# > low part, and two products, x wₕ + x wₗ, are enough for the first layer, which is nearly all of the work.

# %% [markdown]
# ## 10 Reading the resource report
#
# A multiprocessor has a fixed number of registers and a fixed amount of shared memory. What one program (a *block* of
# several *warps* of 32 threads) takes decides how many fit at once, and a multiprocessor with several can work on one
# while another waits for memory. If a kernel wants more registers than a thread may have, the compiler *spills*: it
# keeps values in memory, and what should have been free is a load and a store.
#
# All of that is known when a kernel is compiled, and compiling needs no GPU. `breaknet kernels` does it for every
# kernel and every generation of GPUs; here are two kernels, for a T4 (sm_75) and an H100 (sm_90).

# %%
report = resources.report() if here.HAVE_TRITON else []
resources.table(report)

# %%
plots.register_file(report) if report else None

# %% [markdown]
# The trainer of section 6 fills a multiprocessor with one program, and that is meant: it keeps weights and pixels in
# registers. What if we forced it to be more modest?

# %%
capped = resources.register_caps() if here.HAVE_TRITON else []
resources.table(capped)

# %%
plots.spill_bars(capped) if capped else None

# %% [markdown]
# ### Exercise 9: how many blocks fit?
#
# Work out the last column yourself. Of one multiprocessor, `sm` knows `max_warps_per_sm`, `max_blocks_per_sm`,
# `shared_per_sm`, and `shared_reserved`, which each block takes of the shared memory beyond what it asked for. There
# are 65,536 registers, in four quarters of 16,384; a warp is 32 threads and lies in one quarter; it is given
# registers in units of 256.


# %% tags=["student", "exercise-blocks_per_sm"]
def blocks_per_sm(registers, warps, shared_bytes, sm):
    """How many blocks one multiprocessor holds; `warps` and `shared_bytes` are of one block."""


# %% tags=["instructor", "exercise-blocks_per_sm"]
def blocks_per_sm(registers, warps, shared_bytes, sm):
    """How many blocks one multiprocessor holds; `warps` and `shared_bytes` are of one block."""
    per_warp = -(-registers * 32 // 256) * 256  # rounded up to whole units
    by_registers = 4 * (65_536 // 4 // per_warp) // warps
    by_shared = sm.shared_per_sm // max(1, shared_bytes + sm.shared_reserved)
    by_threads = sm.max_warps_per_sm // warps
    return min(by_registers, by_shared, by_threads, sm.max_blocks_per_sm)


# %%
checks_in_python.blocks_per_sm(blocks_per_sm)

# %% tags=["instructor"]
wrong.table("blocks_per_sm")

# %% [markdown]
# **Question 10.** With fewer registers two programs of the trainer fit one multiprocessor. Why does the project not
# take that offer, although a T4 could then hold twice as many of them?

# %% [markdown] tags=["instructor"]
# > **Answer.** The trainer needs a fixed number of programs, and they fit already; room for more brings nothing. A
# > spill, on the other hand, is a trip to memory, and whatever one program waits for, all wait for at the next barrier.

# %% [markdown]
# ## 11 The floor and the roofline
#
# How fast could it be at best? Each step must move some bytes and do some operations, and the machine moves bytes and
# does operations at rates that can be measured. The slower of the two times is the *floor*: nothing that does the same
# work on this machine can be faster. A time without its floor says little; the distance between them says how much
# is left to gain.

# %%
for name, rate in (("bytes moved", "bytes_per_s"), ("operations", "flop_per_s")):
    print(f"{name:12} this {DEVICE}: {rates[rate] / 1e9:8,.1f} thousand million a second")
climbed = ladder()
plots.ladder_steps(climbed)

# %% [markdown]
# In the next figure every way of doing a step or of judging a network has its place: to the right, the more operations
# it does for a byte; upwards, the more of them in a second. The *roof* is what the machine can do: rising where memory
# is the limit, flat where arithmetic is.

# %%
plots.roofline(climbed, rates, f"Roofline of this {DEVICE}, measured")

# %% [markdown]
# And on machines whose results are stored with the project:

# %%
plots.stored_rooflines()

# %% [markdown]
# **Question 11.** Pick the rung furthest below the roof, and the one closest to it. For each, say which of sections 2
# to 8 explains its distance. What of the distance does the floor not know about at all?

# %% [markdown] tags=["instructor"]
# > **Answer.** The loops over single images and single calls are furthest: section 2. The rungs that ask once, for a
# > whole run or for all checkpoints, come closest: sections 6 to 8. The floor knows nothing of latencies (launches,
# > barriers, a memory access that others must wait for), of sigmoids, or of anything that must happen one after
# > another. Nor does it know of other programs on the machine: let the class say how busy theirs was.

# %% [markdown]
# ## What to take away
#
# * Count and time before you optimise, on the machine at hand: asking, moving and computing have other shares on a CPU
#   than on a GPU.
# * Whatever sits between two pieces of work, a call, a trip through memory, a launch, is worth removing before the
#   work itself is made faster.
# * A kernel that does not end can keep what it knows. What others must know of it goes through memory, and through a
#   barrier.
# * Keep sums in a fixed order, and products in full precision, and every run can be held against float64. Then a
#   difference is a bug, and bugs are found.
# * Know the floor. It tells you when to stop.
