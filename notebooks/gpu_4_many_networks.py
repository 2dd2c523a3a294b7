# %% [markdown]
# # GPU performance 4: many networks at once
#
# One small network leaves most of a GPU idle. Many of them do not: here you train many networks in one launch, without
# a barrier, and evaluate all checkpoints of a run in one product. Notebooks 1 to 3 explain what a kernel is made of.

# %% tags=["course-set-up"]
# scripts/build_notebooks.py writes this cell from scripts/notebook_set_up.py and scripts/course_set_up.py

# %%
from benchmarks import floors
from breaknet.kernels.host.tiles import cooperative_tiles
from breaknet.kernels.jobs import Shape
from notebooks.course import checks, measure, pictures, plots, specs
from notebooks.course.comparisons import comparison
from notebooks.course.here import tl, triton
from notebooks.course.specs import shown

# %% [markdown]
# ## 7 Many networks at once
#
# A single network leaves much of a GPU idle, however well it is trained: its programs wait for each other twice a step,
# and there are more SMs than it has work for. Suppose you want *many* networks, for other labels, other learning
# rates, other starting parameters. Then no program needs to wait: give each network a program of its own, and let the
# programs run side by side.

# %%
shape = Shape(784, 16, 16, 10)
t4 = cooperative_tiles(shape, 100, 75, 40)
pictures.occupied_sms(40, t4.programs, "a GPU with 40 SMs, such as a T4")

# %% [markdown]
# Even in plain torch, many networks in one call are cheaper than a call for each:

# %%
batched = measure.many_small_layers()
gain = batched.alone[-1] / batched.together[-1]
print(f"{batched.networks[-1]} networks in one call: {gain:.1f} times the speed of one call each")
plots.networks_curve(batched)

# %% [markdown]
# ### Exercise 6: a training loop inside a kernel
#
# Put sections 3 to 6 together. Program *m* trains network *m*: one layer with sigmoids, without a bias (the last input
# is a constant 1, so its weights act as the bias). The weights are loaded once, stay in registers for the whole epoch,
# and are stored at the end. All networks share the images; each has its own labels, learning rate and start.
#
# $$y = \sigma(x W_m^{\mathsf{T}}), \qquad dz = 2\,(y - t_m)\, y\,(1 - y), \qquad
# W_m \leftarrow W_m - \eta_m\, dz^{\mathsf{T}} x$$

# %%
shown(specs.train_many_spec)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Network *m* begins at `m * outputs * inputs`, so the offsets of its weights are `(network * outputs + unit[:,
# None]) * inputs + k[None, :]`. Its labels begin at `network * examples`.
# `tl.dot(x, tl.trans(weight), ...)` is the forward pass, `tl.dot(tl.trans(dz), x, ...)` the gradient. The weights
# are a block in registers: `weight -= learning_rate * ...` changes them.
#
# </details>


# %% tags=["exercise-train_many"]
@triton.jit
def train_many_kernel(
    image_ptr, label_ptr, learning_rate_ptr, weight_ptr, trained_ptr, examples, inputs, outputs,
    BATCH: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    network = tl.program_id(0)
    k = tl.arange(0, BLOCK_K)
    unit = tl.arange(0, BLOCK_N)
    # load this network's weights as [BLOCK_N, BLOCK_K]: where do they begin? load its learning rate
    ### BEGIN SOLUTION
    place = (network * outputs + unit[:, None]) * inputs + k[None, :]
    exists = (unit < outputs)[:, None] & (k < inputs)[None, :]
    weight = tl.load(weight_ptr + place, mask=exists, other=0.0)  # stays in registers
    learning_rate = tl.load(learning_rate_ptr + network)
    ### END SOLUTION
    for first in range(0, examples, BATCH):
        row = first + tl.arange(0, BATCH)
        # load the images [BATCH, BLOCK_K] and this network's labels [BATCH]
        # forward, then dz = 2 (y - target) y (1 - y), then the update
        ### BEGIN SOLUTION
        x_inside = (row < examples)[:, None] & (k < inputs)[None, :]
        x = tl.load(image_ptr + row[:, None] * inputs + k[None, :], mask=x_inside, other=0.0)
        label = tl.load(label_ptr + network * examples + row, mask=row < examples, other=-1)
        y = 1 / (1 + tl.exp(-tl.dot(x, tl.trans(weight), input_precision="ieee")))
        target = (label[:, None] == unit[None, :]).to(tl.float32)
        dz = 2 * (y - target) * y * (1 - y)
        weight -= learning_rate * tl.dot(tl.trans(dz), x, input_precision="ieee")
        ### END SOLUTION
    # store the weights
    ### BEGIN SOLUTION
    tl.store(trained_ptr + place, weight, mask=exists)
    ### END SOLUTION


# %%
checks.train_many(train_many_kernel)

# %% tags=["instructor"]
checks.train_many.usual_mistakes()

# %%
comparison("cooperative", "packed")

# %% [markdown]
# **Question 7.** Rows past the last image have a `dz` that is not zero: y is ½ there and the target 0. Why does that
# do no harm here, and why would it if the layer had a separate bias?

# %% [markdown] tags=["instructor"]
# > **Answer.** `dz` enters the update as dzᵀ x, and those rows of x were loaded as zeros, the constant 1 included. The
# > gradient of a separate bias is the sum of dz over the rows: there they would count. The project's trainer, which
# > inserts the constant 1 itself, therefore sets the deltas of such rows to zero.

# %% [markdown]
# ## 8 All checkpoints in one product
#
# The lesson evaluates the network as it was after every epoch: 100 checkpoints on 60,000 images. The original loop
# compares predictions one image at a time. The remedy is the one you know, fewer launches; but there is more to gain.
# Every checkpoint is evaluated on the *same* images. Put the first layers of several side by side, and one wide
# product gives the hidden units of all of them, while each image is read once.

# %%
pictures.wide_product()

# %%
for checkpoints in (1, 4, 100):
    work = floors.evaluation(60_000, models=checkpoints, image_bytes=784.0, label_bytes=4.0)
    each = work.operations / work.bytes
    print(f"{checkpoints:3} checkpoints together: {each:6,.0f} operations per byte read")
rates = measure.ceilings()
corner = rates["flop_per_s"] / rates["bytes_per_s"]
print(f"this machine can do {corner:.0f} operations in the time in which it moves a byte")

# %% [markdown]
# Below that last number, a program is limited by memory; above it, by arithmetic.
#
# ### Exercise 7: the predicted class
#
# The class with the largest output is the prediction, and of several equal ones the *first*, as in `torch.argmax`.
# Equal outputs do occur: saturated sigmoids are all exactly 1. The grid has two axes, blocks of images and checkpoints:
# `tl.program_id(1)` is the checkpoint. Triton has a `tl.argmax`; write the kernel without it, to see what it must take
# care of.
#
# $$\mathrm{predicted} = \min\,\{\, c : y_c = \max_k y_k \,\}$$

# %%
pictures.first_maximum()

# %%
shown(specs.first_maximum_spec)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Load what does not exist as `-float("inf")`, so that it cannot win. `largest = tl.max(output, 1)` has one value
# for each row. Where `output == largest[:, None]`, the column is a candidate; elsewhere put a number that no column
# has, such as `BLOCK_C`. The smallest candidate is the answer.
#
# </details>


# %% tags=["exercise-first_maximum"]
@triton.jit
def first_maximum_kernel(
    output_ptr, predicted_ptr, images, classes, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr
):  # fmt: skip
    image = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    checkpoint = tl.program_id(1)
    column = tl.arange(0, BLOCK_C)
    # load this checkpoint's outputs [BLOCK_B, BLOCK_C]: what must columns past the last class be?
    # the largest of each row, then the smallest column that holds it
    # store one int32 per image
    ### BEGIN SOLUTION
    place = (checkpoint * images + image)[:, None] * classes + column[None, :]
    inside = (image < images)[:, None] & (column < classes)[None, :]
    output = tl.load(output_ptr + place, mask=inside, other=-float("inf"))
    largest = tl.max(output, 1)
    candidate = tl.where(output == largest[:, None], column[None, :], BLOCK_C)
    tl.store(predicted_ptr + checkpoint * images + image, tl.min(candidate, 1), mask=image < images)
    ### END SOLUTION


# %%
checks.first_maximum(first_maximum_kernel)

# %% tags=["instructor"]
checks.first_maximum.usual_mistakes()

# %%
comparison("notebook-accuracy", "vectorised-accuracy", "numba-evaluation", "all-checkpoints")

# %% [markdown]
# **Question 8.** By the operations and bytes above, does it pay on your machine to read each image only once? And what
# does your kernel predict for an image whose outputs are all NaN, as they are in a network that has diverged? What
# does `torch.argmax` give?

# %% [markdown] tags=["instructor"]
# > **Answer.** It pays where one checkpoint alone does fewer operations per byte than the machine can. A CPU is often
# > past that point, and then only the saved calls count. As for NaN: it equals nothing, so no column is a candidate and
# > the prediction is BLOCK_C, a class that does not exist; `torch.argmax` counts NaN as the largest value and gives 0.
# > `kernels/evaluation.py` ranks NaN above everything, so that both agree.
