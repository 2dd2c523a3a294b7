# %% [markdown]
# # GPU performance 6: occupancy and the roofline
#
# How many copies of a kernel fit an SM, and how fast could it be at best? The compiler answers the first question, two
# measured rates the second.

# %% tags=["course-set-up"]
# scripts/build_notebooks.py writes this cell from scripts/notebook_set_up.py and scripts/course_set_up.py

# %%
from breaknet.kernels.host.targets import TARGETS
from notebooks.course import checks_in_python, elsewhere, measure, plots, resources
from notebooks.course.comparisons import all_implementations
from notebooks.course.here import DEVICE, HAVE_TRITON

# %% [markdown]
# ## 10 Reading the resource report
#
# A streaming multiprocessor (SM) has a fixed number of registers and a fixed amount of shared memory. What one program
# (a *block* of several *warps* of 32 threads) takes decides how many fit at once, the *occupancy*; an SM with several
# can work on one while another waits for memory. If a kernel needs more registers than a thread may have, the compiler
# *spills*: it keeps values in memory, and each use becomes a load or a store.
#
# All of that is known when a kernel is compiled, and compiling needs no GPU. `breaknet kernels` does it for every
# kernel and every generation of GPUs; here are two kernels, for a T4 (sm_75) and an H100 (sm_90).

# %%
report = resources.report() if HAVE_TRITON else []
resources.table(report)

# %%
plots.register_file(report) if report else None

# %% [markdown]
# The trainer of section 6 (notebook 3) fills an SM with one program, on purpose: it keeps weights and pixels in
# registers. What if we limited its registers?

# %%
capped = resources.register_caps() if HAVE_TRITON else []
resources.table(capped)

# %%
plots.spill_bars(capped) if capped else None

# %% [markdown]
# ### Exercise 9: how many blocks fit?
#
# Compute the last column yourself. For one SM, `sm` has `max_warps_per_sm`, `max_blocks_per_sm`, `shared_per_sm`, and
# `shared_reserved`, the shared memory that each block takes beyond its own. There are 65,536 registers, in four
# quarters of 16,384; a warp is 32 threads and lies in one quarter; registers are allocated to it in units of 256.

# %% [markdown]
# <details><summary>Hint</summary>
#
# There are four limits, and the tightest one counts: `min` of four numbers. Registers: round those of one warp up
# to a multiple of 256; one quarter of the file holds `16384 //` that many warps; four quarters together hold so
# many warps, which make how many whole blocks? Shared memory: each block takes its own and the reserved bytes.
#
# </details>


# %% tags=["exercise-blocks_per_sm"]
def blocks_per_sm(registers, warps, shared_bytes, sm):
    """The number of blocks that one SM holds; `warps` and `shared_bytes` are those of one block."""
    ### BEGIN SOLUTION
    per_warp = -(-registers * 32 // 256) * 256  # rounded up to whole units
    by_registers = 4 * (65_536 // 4 // per_warp) // warps
    by_shared = sm.shared_per_sm // max(1, shared_bytes + sm.shared_reserved)
    by_threads = sm.max_warps_per_sm // warps
    return min(by_registers, by_shared, by_threads, sm.max_blocks_per_sm)
    ### END SOLUTION


# %%
checks_in_python.blocks_per_sm(blocks_per_sm)

# %% tags=["instructor"]
checks_in_python.blocks_per_sm.usual_mistakes()

# %% [markdown]
# ### A limit that cost a third
#
# A limit on registers can also be too *high*. The evaluation kernel was once compiled with "at most 255 registers": no
# limit at all, one would think. But the compiler takes what it is allowed. It hoisted loads and kept 208 registers, so
# that two blocks of four warps fit an SM, too few to hide the time that loads take. Without the option it needs 96:

# %%
for registers in (208, 96):
    blocks = TARGETS[90].blocks_per_sm(registers, 4, 24 * 1024)
    print(f"{registers} registers: {blocks} blocks of 4 warps on an SM of sm_90")
elsewhere.beside_prototypes("evaluation")

# %% [markdown]
# The prototype differs in little else: it also reads the images transposed, which is worth a tenth at most. So an
# option cost about a third of the time. Neither the report nor the roofline says which number of registers is best.
# They say what to try; the clock decides.
#
# **Question 10.** With fewer registers two programs of the trainer fit one SM. Why does the project not use that,
# although a T4 could then hold twice as many of them?

# %% [markdown] tags=["instructor"]
# > **Answer.** The trainer needs a fixed number of programs, and they fit already; room for more gains nothing. A
# > spill, on the other hand, is memory traffic, and what one program waits for, all wait for at the next barrier.

# %% [markdown]
# ## 11 The floor and the roofline
#
# How fast could it be at best? Each step must move some bytes and do some operations, and the machine does both at
# rates that can be measured. The longer of the two times is the *floor*: nothing that does the same work on this
# machine can be faster. A time without its floor says little; the distance between them says how much is left to gain.

# %%
rates = measure.ceilings()
print(f"this {DEVICE} moves {rates['bytes_per_s'] / 1e9:,.1f} GB/s")
print(f"and does {rates['flop_per_s'] / 1e9:,.1f} GFLOP/s (10⁹ operations a second)")
measured = all_implementations()
plots.times_and_floors(measured)

# %% [markdown]
# In the next figure every implementation of a training step or of an evaluation is a point: further right with more
# operations per byte, higher up with more operations per second. The *roof* is the machine's limit: rising where memory
# is the limit, flat where arithmetic is.

# %%
plots.roofline(measured, rates, f"Roofline of this {DEVICE}, measured")

# %% [markdown]
# And on machines whose results are stored with the project:

# %%
plots.stored_rooflines()

# %% [markdown]
# ### The model against the measurement
#
# The roofline knows bytes and operations. A finer model counts what the compiled kernel executes, instruction by
# instruction, and takes an SM to be as slow as its busiest unit: the schedulers, the float32 units, or shared memory.
# That needs no GPU, so it predicts times on GPUs that nobody has at hand. Is it right?

# %%
elsewhere.model_against_rows()

# %% [markdown]
# A ratio near 1 says that the kernel is limited by what the model counts. A ratio well below 1 says that the units
# *wait*: for memory, for a barrier, for each other. Such a ratio is no reason to mend the model first. In the
# evaluation kernel it pointed at the two blocks on an SM, above.
#
# **Question 11.** Pick the implementation furthest below the roof, and the one closest to it. For each, say which of
# sections 2 to 8 explains its distance. Which causes of the distance are not in the floor at all?

# %% [markdown] tags=["instructor"]
# > **Answer.** The loops over single images and single calls are furthest: section 2. Those with one call for a whole
# > run or for all checkpoints come closest: sections 6 to 8. The floor contains no latencies (launches, barriers, a
# > memory access that others must wait for), no sigmoids, and nothing that must happen one after another. Nor does it
# > contain other programs on the machine: ask the class how busy theirs was.

# %% [markdown]
# ## What to take away
#
# * Count and measure before you optimise, on the machine at hand: launches, memory and arithmetic have other shares on
#   a CPU than on a GPU.
# * Whatever stands between two pieces of work, a call, a transfer through memory, a launch, is worth removing before
#   the work itself is made faster.
# * A persistent kernel keeps its state in registers. What other programs must know of it goes through memory, and
#   through a barrier.
# * Keep sums in a fixed order, and products in full precision, and every run can be compared with float64. Then a
#   difference is a bug, and bugs are found.
# * Know the floor. It tells you when to stop.
