# %% [markdown]
# # GPU performance 3: persistent kernels and barriers
#
# A kernel that runs for the whole training run can keep its weights in registers and needs a single launch. But its
# programs then have to wait for each other, without the host. Here you write the barriers.

# %% tags=["course-set-up"]
# scripts/build_notebooks.py writes this cell from scripts/notebook_set_up.py and scripts/course_set_up.py

# %%
from breaknet.kernels.host.tiles import cooperative_tiles
from breaknet.kernels.jobs import Shape
from notebooks.course import checks, measure, pictures, specs
from notebooks.course.barriers import barrier, delay
from notebooks.course.comparisons import comparison
from notebooks.course.here import digits, tl, triton
from notebooks.course.specs import shown

# %% [markdown]
# ## 6 One launch for a whole run
#
# Fused kernels still have to be launched for every step: parameters are read from memory, changed, written back, and
# the host launches the next one. How often, in a training run of the lesson?

# %%
steps = 100 * (50_000 // 100)
calls = measure.profile_step(digits().train).calls
print(f"100 epochs are {steps:,} steps, which call torch {steps * calls:,.0f} times")
shape = Shape(784, 16, 16, 10)
print(f"{shape} has {shape.parameters:,} parameters, {4 * shape.parameters:,} bytes")
print(f"the registers of one SM hold {4 * 65_536:,} bytes")

# %% [markdown]
# The whole network fits the registers of a single SM. So let a kernel keep it there and do all the steps of all the
# epochs: one launch for a run. Such a kernel is called *persistent*.
#
# **Why registers?** Registers are the fastest memory there is, and they are lost when the kernel ends. Only a kernel
# that keeps running can keep its weights there from step to step.
#
# **Why barriers?** One SM could hold the network but would compute slowly, so the first layer's product is divided
# among many. Each program takes a *slice* of the inputs and keeps that slice of the first layer's weights. But every
# slice gives only a part of each sum, and the sigmoid needs the whole sum. Between separate launches, all results are
# complete. Within one launch we have to make such points ourselves.

# %%
for capability, sms in ((75, 40), (80, 108), (90, 132)):  # as a T4, an A100, an H100
    plan = cooperative_tiles(shape, 100, capability, sms)
    slices = f"{plan.slices} slices of {plan.input_block} inputs"
    print(f"sm_{capability} with {sms} SMs: {slices}, {plan.programs} programs")
pictures.cooperative_step()

# %% [markdown]
# A **barrier** is a counter in global memory. A program that arrives adds 1 (an atomic addition of an *integer*, for
# which the order does not matter) and then reads the counter again and again until all have arrived. The counter is
# never reset: barrier *n* is open once it has reached *n* times the number of programs.
#
# **Why two of them?** Results of phase 1 are read by other programs in phase 2: a barrier in between. And memory that
# some program still reads must not be overwritten by the next step: another barrier. In the right order two are
# enough for a whole step, as `kernels/cooperative_training.py` argues in its first lines.
#
# **Why must all programs run at once?** A waiting program keeps its registers and its place on its SM. If some
# programs of the launch have not started yet, because the GPU is full of waiting ones, they never will: a deadlock. A
# *cooperative* launch is one that the driver refuses unless all programs fit at once; that is why the plan above
# depends on the number of SMs.
#
# **Why no atomics for the sums?** For the reason in section 5 (notebook 2): every run would be different.
#
# ### Exercise 5: programs that wait for each other
#
# Here is the skeleton of that trainer, without its mathematics. Every program has a row of numbers in registers.
# Each round it writes the row to global memory, reads all rows, and moves half way to their mean:
#
# $$v_p \leftarrow \frac{1}{2} v_p + \frac{1}{2} \cdot \frac{1}{P} \sum_q v_q$$

# %%
shown(specs.rounds_spec)

# %% [markdown]
# Only the barriers are missing: add them. `barrier(counter_ptr, arrivals, INTERPRETED)` arrives, and returns once
# `arrivals` have been counted in all since the launch began. `delay` makes the last program slow, as one always is on
# a real machine. (Without a GPU, the checker runs each program as a process of its own on shared memory: the counter
# is real, and so is the waiting.)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Ask of each line: which data of others does it read, and who must have written them before? Who might still read
# what the next round overwrites? Each answer is a barrier.
# Keep a number `arrivals`, 0 at first. Before each barrier add `PROGRAMS` to it, since every program arrives once.
#
# </details>


# %% tags=["exercise-rounds"]
@triton.jit
def rounds_kernel(
    value_ptr, shared_ptr, result_ptr, counter_ptr, rounds, slow, first_program,
    PROGRAMS: tl.constexpr, WIDTH: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0) + first_program
    lane = tl.arange(0, WIDTH)
    own = tl.load(value_ptr + program * WIDTH + lane)  # stays in registers for all rounds
    ### BEGIN SOLUTION
    arrivals = 0
    ### END SOLUTION
    for _ in range(rounds):
        tl.store(shared_ptr + program * WIDTH + lane, own)
        ### BEGIN SOLUTION
        arrivals += PROGRAMS
        barrier(counter_ptr, arrivals, INTERPRETED)  # all have written
        ### END SOLUTION
        delay(counter_ptr, program, slow, PROGRAMS)
        total = tl.zeros([WIDTH], tl.float32)
        for other in range(PROGRAMS):  # in the same order everywhere
            total += tl.load(shared_ptr + other * WIDTH + lane)
        own = 0.5 * own + 0.5 * (total / PROGRAMS)
        ### BEGIN SOLUTION
        arrivals += PROGRAMS
        barrier(counter_ptr, arrivals, INTERPRETED)  # all have read
        ### END SOLUTION
    tl.store(result_ptr + program * WIDTH + lane, own)


# %%
checks.rounds(rounds_kernel)

# %% tags=["instructor"]
checks.rounds.usual_mistakes()

# %%
comparison("sliced", "fused", "cooperative", "numba")

# %% [markdown]
# The last line is the same idea on a CPU: one compiled call trains for whole epochs, with a core's caches in the place
# of registers. It also skips the pixels that are zero, which most are.
#
# **Question 6.** Give every program two rows of global memory, and let it use them in turn, one in even rounds, the
# other in odd ones. Which of the two barriers is then superfluous?

# %% [markdown] tags=["instructor"]
# > **Answer.** The second. A program overwrites in round r + 2 what others read in round r, and between the two lies
# > the first barrier of round r + 1, which no program passes before all have finished reading in round r. The trainer
# > needs its second barrier anyway: between the two, the deltas are exchanged.
