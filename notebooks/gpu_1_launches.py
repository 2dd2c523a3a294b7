# %% [markdown]
# # GPU performance 1: kernels and their launches
#
# The lesson *Breaking a neural network* trains a tiny network: 784 inputs, two hidden layers of 16, ten outputs, in
# batches of 100. Written the usual way it keeps a class waiting for minutes, on a laptop and on a GPU alike. Six
# notebooks find out where that time goes, and you write the kernels that get it back, one idea at a time:
#
# | notebook | section | what you write |
# |---|---|---|
# | 1 launches | 1 where the time goes | |
# | | 2 launch overhead | a first kernel |
# | 2 fused layers | 3 fusing a linear layer with its sigmoid | the layer |
# | | 4 its backward pass | its gradients |
# | | 5 the summed cost | cost and gradient in one pass |
# | 3 persistent kernels | 6 one launch for a whole run | programs that wait for each other |
# | 4 many networks | 7 many networks at once | a training loop inside a kernel |
# | | 8 all checkpoints in one product | the predicted class |
# | 5 precision | 9 precision | a product in three parts |
# | 6 occupancy and roofline | 10 reading the resource report | how many blocks fit |
# | | 11 the floor and the roofline | |
#
# Every exercise has a formula, a picture, a specification in a few lines of torch, an empty kernel, and a checker.
# Everything works without a GPU, where Triton's interpreter runs your kernels on the CPU; on a GPU the same cells
# compile them. Every time and every count is measured on your own machine while you read. Where results of other
# machines are stored with the project, they stand beside yours.
#
# You need Python, some torch, and matrix products. You need not have written a kernel before.

# %% [markdown] tags=["instructor"]
# > **This is the instructor's version.** Solutions are filled in, paragraphs like this one answer the questions, and
# > after each exercise a table shows the usual mistakes and the checker's message for each. None of that is in the
# > students' notebook. Two double lessons are about right: notebooks 1 and 2, then 3 to 6. Those without time for all
# > exercises should do 2, 3 and 5.

# %% tags=["course-set-up"]
# scripts/build_notebooks.py writes this cell from scripts/notebook_set_up.py and scripts/course_set_up.py

# %%
from benchmarks import floors
from notebooks.course import checks, measure, pictures, plots, specs
from notebooks.course.comparisons import comparison
from notebooks.course.here import DEVICE, digits, tl, triton
from notebooks.course.specs import shown

images = digits().train
print(f"digits: {digits().source}, {len(images):,} to train on")

# %% [markdown]
# ## 1 Where the time goes
#
# Before making anything faster, find out what it does. One training step has three parts: the outputs for 100 images
# (forward), the derivative of the cost by each parameter (backward), and a small change of each parameter (update).
# Here is one such step of a tidy `nn.Module` loop under torch's profiler.

# %%
profile = measure.profile_step(images)
print(profile)
plots.where_time_goes(profile)

# %% [markdown]
# The mathematics of a step is a few matrix products. How long would they take if this machine did nothing but
# multiply and add, at the highest rate that we can measure on it?

# %%
rates = measure.ceilings()
step_work = floors.training_step(measure.BATCH)
arithmetic = step_work.operations / rates["flop_per_s"]
print(
    f"a step is {step_work.operations / 1e6:.1f} million operations (an FMA, a fused multiply-add, is two);"
)
print(f"this {DEVICE} has just done {rates['flop_per_s'] / 1e9:,.0f} GFLOP/s (10⁹ operations a second).")
print(f"The arithmetic would take {1e6 * arithmetic:.1f} µs, the step took {1e6 * profile.seconds:.0f}:")
print(f"{profile.seconds / arithmetic:,.0f} times as long")

# %% [markdown]
# **Question 1.** Which of the operators in the figure does the mathematics need, and which are there because torch
# is called for one small operation at a time? Suppose all matrix products took no time at all: by what factor would
# the step be faster?

# %% [markdown] tags=["instructor"]
# > **Answer.** Products, sigmoids, the cost, sums and updates are the mathematics. Views, transposes, fills, copies
# > and detaches are overhead; so is Python itself, which the profiler's operators do not show. Removing a part that
# > takes the share *s* of the time makes the whole faster by the factor 1 / (1 − s) at most (Amdahl's law), which the
# > next cell computes. Compare it with the factor above: products that took no time would still leave most of the
# > time where it is.

# %% tags=["instructor"]
share = profile.shares["matrix products"]
print(f"matrix products are {share:.0%} of the time within operators;")
print(f"without them the step would be {1 / (1 - share):.1f} times as fast, at most")

# %% [markdown]
# ## 2 Launch overhead
#
# To add 1 to a tensor, Python calls torch; torch checks types, shapes and strides, finds the code to run, and
# allocates the result; on a GPU it then puts a *launch* of a kernel into a queue. Only then is anything added. The
# cost of the call does not depend on how much there is to do.

# %%
calls = measure.overhead()
print(f"one call costs {1e6 * calls.call:.1f} µs, however little it has to do")
overhead = profile.calls * calls.call
print(f"a step makes {profile.calls:.0f} calls: {1e6 * overhead:.0f} µs, if every call cost that")
print(f"the work takes longer than its call {calls.worth_it};")
print(f"a batch of a hidden layer's outputs has {100 * 16:,}")
plots.overhead_curve(calls)

# %% [markdown]
# So the remedy is not faster operations but fewer launches. That is what the rest of this course is about.

# %%
pictures.timeline()

# %% [markdown]
# Here is how far one gets without writing a kernel. The original loop feeds images one by one through a
# `DataLoader`; slices of one tensor save that. Gradients written out by hand save autograd's bookkeeping. A CUDA
# graph records a step's launches once and then replays them with a single call; `torch.compile` generates kernels.

# %%
comparison("notebook", "sliced", "hand-written", "cuda-graph", "compiled")

# %% [markdown]
# ### Exercise 1: bytes to numbers
#
# A GPU consists of many *streaming multiprocessors* (SMs; a T4 has 40, an H100 has 132). Each has its own arithmetic
# units, *registers* and *shared memory*; all of them reach the GPU's large *global memory*, which is much slower.
#
# MNIST's pixels are bytes; the network takes byte / 256 as float32. In torch, `pixels.float() / 256` is two calls,
# and a tensor of floats that is written only to be read again. Your first kernel does it in one launch.
#
# A kernel is written for one *program*, which runs on one SM and works on a block of values at once; it is launched
# as a *grid* of many programs. A program gets its number from `tl.program_id(0)` and computes which values it owns:
# `tl.arange(0, BLOCK)` is the block of numbers 0 to BLOCK − 1. It loads a block from global memory by adding such
# numbers to a pointer, computes with it in registers, and stores the result. Block sizes are powers of two, tensor
# sizes need not be: so a *mask* says which values exist. What is masked out is neither read nor written; a load gives
# the value `other` for it.
#
# $$x_i = \mathrm{pixel}_i / 256$$

# %%
pictures.blocks(784, 128)

# %%
shown(specs.scale_bytes_spec)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `place < count` is the mask. Three lines are enough: the mask, a `tl.load` from `pixel_ptr + place`, and a
# `tl.store` to `x_ptr + place` of the converted bytes. Both need the mask.
#
# </details>


# %% tags=["exercise-scale"]
@triton.jit
def scale_kernel(pixel_ptr, x_ptr, count, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    # which of these places exist, that is, lie below count?
    # load their bytes with tl.load(pointer, mask=..., other=0)
    # convert them with .to(tl.float32), divide
    # store them with tl.store(pointer, values, mask=...)
    ### BEGIN SOLUTION
    inside = place < count
    pixel = tl.load(pixel_ptr + place, mask=inside, other=0)
    tl.store(x_ptr + place, pixel.to(tl.float32) / 256, mask=inside)
    ### END SOLUTION


# %% [markdown]
# The checker launches your kernel on several sizes, most of them no multiple of the block. It fills the output and
# guard zones around it with a known value, so that it sees values that were not written and writes out of bounds; it
# puts NaN around the inputs, so that it sees reads out of bounds; and it compares with float64. (On a GPU, a program
# that reaches far outside can end the session with an *illegal memory access*: restart it then.)

# %%
checks.scale(scale_kernel)

# %% tags=["instructor"]
checks.scale.usual_mistakes()

# %% [markdown]
# **Question 2.** How many programs does the launch of 784 pixels in blocks of 128 have, and how many values does the
# last one mask out? What would happen without the mask in `tl.store`?

# %% [markdown] tags=["instructor"]
# > **Answer.** 7 programs, of which the last masks out 7 · 128 − 784 = 112 values. Without the mask it would
# > overwrite whatever lies behind the tensor; no error would be raised, and some other tensor would be wrong later.
