# %% [markdown]
# # GPU performance 2: fused layers
#
# A training step in torch is dozens of calls, each with its own launch, and a tensor in memory between any two. Here
# you write three kernels that make it a few: a linear layer with its sigmoid, its gradients, and the summed cost with
# its gradient. Notebook 1 explains programs, blocks and masks.

# %% tags=["course-set-up"]
# scripts/build_notebooks.py writes this cell from scripts/notebook_set_up.py and scripts/course_set_up.py

# %%
import torch

from benchmarks import floors
from notebooks.course import checks, elsewhere, measure, pictures, specs
from notebooks.course.comparisons import comparison
from notebooks.course.here import DEVICE, digits, tl, triton
from notebooks.course.specs import shown

# %% [markdown]
# ## 3 Fusing a linear layer with its sigmoid
#
# A layer is a product, a sum and a sigmoid. In torch these are separate calls, and between two of them the whole batch
# of results is written to memory and read back. A program that has a block of sums in its registers can add the bias
# and take the sigmoid at once, without any memory traffic.
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
# Program *p* computes `BLOCK_B` rows of `y`, from row `p * BLOCK_B`, with all of its columns (at most `BLOCK_N`). It
# loops over `inputs` in steps of `BLOCK_K`, and adds up products of blocks: `tl.dot(a, b, z, input_precision="ieee")`
# is `a @ b + z` for blocks, in float32 (notebook 5 is about the other precisions). All tensors lie row by row: the
# value in row *r* and column *k* of `x` stands at `x_ptr + r * inputs + k`. `row[:, None]` is a column of numbers,
# `k[None, :]` a row of them, and their sum a whole block of offsets.

# %% [markdown]
# <details><summary>Hint</summary>
#
# Inside the loop, the block of x has the offsets `row[:, None] * inputs + k[None, :]` and the mask `(row <
# batch)[:, None] & (k < inputs)[None, :]`. The block of W has unit *n* in its column, so its row of memory goes
# along `[None, :]`: `unit[None, :] * inputs + k[:, None]`, with a mask of the same form.
# After the loop, `z` is complete. The bias is one value for each column: add `bias[None, :]`. The sigmoid is `1 /
# (1 + tl.exp(-z))`.
#
# </details>


# %% tags=["exercise-forward"]
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
        ### BEGIN SOLUTION
        x_inside = (row < batch)[:, None] & (k < inputs)[None, :]
        x = tl.load(x_ptr + row[:, None] * inputs + k[None, :], mask=x_inside, other=0.0)
        w_inside = (unit < outputs)[None, :] & (k < inputs)[:, None]
        w = tl.load(weight_ptr + unit[None, :] * inputs + k[:, None], mask=w_inside, other=0.0)
        z = tl.dot(x, w, z, input_precision="ieee")
        ### END SOLUTION
    # load the bias, add it, take the sigmoid (tl.exp), store what exists
    ### BEGIN SOLUTION
    bias = tl.load(bias_ptr + unit, mask=unit < outputs, other=0.0)
    y = 1 / (1 + tl.exp(-(z + bias[None, :])))
    y_inside = (row < batch)[:, None] & (unit < outputs)[None, :]
    tl.store(y_ptr + row[:, None] * outputs + unit[None, :], y, mask=y_inside)
    ### END SOLUTION


# %%
checks.forward(linear_sigmoid_kernel)

# %% tags=["instructor"]
checks.forward.usual_mistakes()

# %% [markdown]
# Yours is the project's kernel (`kernels/linear_sigmoid.py`) except for what that one must also handle: tensors with
# any strides, layers without a bias or wider than one block, and offsets beyond 2³¹.
#
# **Question 3.** 784 is no multiple of 32, so the last block along `inputs` is half empty. Which of the two masks on
# `k` could you drop without changing the result, and what would have to be guaranteed instead?

# %% [markdown] tags=["instructor"]
# > **Answer.** Zero times anything finite is zero, so one of the two is enough, provided that what the other operand
# > loads beyond the edge is finite. It need not be: behind the last row lies memory of some other tensor, and 0 · NaN
# > is NaN. That is why the checker puts NaN around the inputs, and why both masks stay.

# %% [markdown]
# ## 4 Its backward pass
#
# Training needs the layer's gradients. From *g* (`grad`), the cost's derivative by each *y*, the chain rule gives
#
# $$dz = g\, y\,(1 - y), \qquad dW = dz^{\mathsf{T}} x, \qquad db = \sum_{b} dz_b$$
#
# Two things make it cheap. The sigmoid's derivative follows from its *output*: σ′(z) = y (1 − y), so the forward pass
# need not store *z*. And `dz` is used only here, so it never leaves the registers.

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
# The long axis is a different one now: every program owns `BLOCK_K` columns of `dW` and loops over the *batch*.
# `tl.trans` transposes a block, `tl.sum(block, 0)` sums over its rows. `db` does not depend on the program's columns,
# so only program 0 stores it.

# %% [markdown]
# <details><summary>Hint</summary>
#
# `grad` and `y` have the same offsets and the same mask, `row[:, None] * outputs + unit[None, :]`. With `dz = grad
# * y * (1 - y)`, add `tl.dot(tl.trans(dz), x, ...)` to `dweight`, and `tl.sum(dz, 0)` to `dbias`.
# Rows past the batch add nothing if both loads give 0 for them.
#
# </details>


# %% tags=["exercise-backward"]
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
        ### BEGIN SOLUTION
        place = row[:, None] * outputs + unit[None, :]
        inside = (row < batch)[:, None] & (unit < outputs)[None, :]
        grad = tl.load(grad_ptr + place, mask=inside, other=0.0)
        y = tl.load(y_ptr + place, mask=inside, other=0.0)
        dz = grad * y * (1 - y)
        x_inside = (row < batch)[:, None] & (k < inputs)[None, :]
        x = tl.load(x_ptr + row[:, None] * inputs + k[None, :], mask=x_inside, other=0.0)
        dweight = tl.dot(tl.trans(dz), x, dweight, input_precision="ieee")
        dbias += tl.sum(dz, 0)
        ### END SOLUTION
    # store both
    ### BEGIN SOLUTION
    w_inside = (unit < outputs)[:, None] & (k < inputs)[None, :]
    tl.store(dweight_ptr + unit[:, None] * inputs + k[None, :], dweight, mask=w_inside)
    if tl.program_id(0) == 0:
        tl.store(dbias_ptr + unit, dbias, mask=unit < outputs)
    ### END SOLUTION


# %%
checks.backward(linear_sigmoid_backward_kernel)

# %% tags=["instructor"]
checks.backward.usual_mistakes()

# %% [markdown]
# **Question 4.** There is a third gradient, `dx = dz W`, for the layer before. The lesson's first layer is the only
# one that never needs it: why? How many FMAs does that save, as a share of the whole step?

# %% [markdown] tags=["instructor"]
# > **Answer.** Before the first layer there are only images, which are not trained. `dx` of the first layer would be
# > as many FMAs as its forward pass; the next cell computes the share.

# %% tags=["instructor"]
first_layer = 2.0 * 100 * 784 * 16
share = first_layer / floors.training_step(measure.BATCH).operations
print(f"dx of the first layer would add {share:.0%} to a step's operations")

# %% [markdown]
# ## 5 The summed cost
#
# The lesson's cost is the sum of the squared differences between outputs and target, where the target is 1 at the
# label and 0 elsewhere. Its gradient uses the same differences, so one pass gives both. And the target need not be
# stored: whether a column is the label is a comparison of two numbers.
#
# $$C = \sum_{b,c} (p_{bc} - t_{bc})^2, \qquad \frac{\partial C}{\partial p_{bc}} = 2\,(p_{bc} - t_{bc})$$
#
# There is a catch. Every program has the sum over its own rows, and the sum over all rows is wanted. Could they not
# all add theirs to one number in memory (an *atomic* addition)? The total would be right up to rounding, and different
# every time: floating-point sums depend on the order, here the order in which programs happen to finish.

# %%
different, spread = measure.order_matters()
print("the same 1,000 float32 numbers, summed in 200 random orders:")
print(f"{different} different sums, up to {spread:.0e} of the sum apart")

# %%
pictures.partial_sums()

# %% [markdown]
# So every program stores its own partial sum, and a second kernel adds those up in a fixed order
# (`kernels/device_functions.py`). Two runs then agree to the last bit, and a difference between two runs is a bug.

# %%
shown(specs.summed_cost_spec)

# %% [markdown]
# ### Exercise 4: cost and gradient in one pass
#
# One program takes `BLOCK_B` rows (the spec's `rows`) and stores its gradients and its partial sum, at
# `partial_ptr + tl.program_id(0)`. Mind the columns past `classes` and the rows past `batch`: they must add nothing.
# `tl.where(condition, a, b)` selects value by value.

# %% [markdown]
# <details><summary>Hint</summary>
#
# The target is a comparison: `(label[:, None] == column[None, :]).to(tl.float32)`. The difference of what does not
# exist must be 0, or it adds to the sum: `tl.where(inside, prediction - target, 0.0)`. A sum over a whole block is
# `tl.sum(tl.sum(block, 1), 0)`.
#
# </details>


# %% tags=["exercise-cost"]
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
    ### BEGIN SOLUTION
    place = row[:, None] * classes + column[None, :]
    inside = (row < batch)[:, None] & (column < classes)[None, :]
    prediction = tl.load(prediction_ptr + place, mask=inside, other=0.0)
    label = tl.load(label_ptr + row, mask=row < batch, other=-1)
    target = (label[:, None] == column[None, :]).to(tl.float32)
    difference = tl.where(inside, prediction - target, 0.0)
    tl.store(gradient_ptr + place, 2 * difference, mask=inside)
    tl.store(partial_ptr + tl.program_id(0), tl.sum(tl.sum(difference * difference, 1), 0))
    ### END SOLUTION


# %%
checks.cost(summed_cost_kernel)

# %% tags=["instructor"]
checks.cost.usual_mistakes()

# %% [markdown]
# With these three kernels a whole step needs fewer launches, even under torch's autograd:

# %%
images = digits().train
print("an nn.Module step:        ", measure.counted(measure.module_step(images)))
print("with the three operators: ", measure.counted(measure.fused_step(images)))
comparison("sliced", "fused")

# %% [markdown]
# Fewer kernels, but are they faster? Not by themselves: on a GPU that waits for Python, a launch that costs the host
# more than torch's own loses all that the kernel saves. Recorded once as a CUDA graph and replayed, the host is out of
# the way, and what is left is the kernels' own time:

# %%
elsewhere.beside_prototypes("fusing")

# %% [markdown]
# So measure who waits for whom before you fuse. Where the host is the limit, fewer and cheaper *calls* help; where the
# GPU is, fewer *kernels* and less memory traffic do. Notebook 3 removes the host altogether.
#
# **Question 5.** A colleague leaves out the factor 2 of the gradient, "since it only scales the learning rate". Would
# a plot of the training cost show that? Would a comparison with float64?

# %% [markdown] tags=["instructor"]
# > **Answer.** The curves would look plausible: it is a training run at half the learning rate. Only a comparison of
# > single steps, digit by digit, distinguishes it from a correct one. The project's tests do that for every kernel,
# > with float64 as the reference.
