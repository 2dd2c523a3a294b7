"""Helpers of the GPU course; the course itself is `notebooks/gpu_*.py`.

    here                where the course runs: device, Triton or why there is none, sizes, digits
    specs               each exercise's torch spec, with shapes in its annotations
    checks              the kernels' checkers: inputs, launches, usual mistakes as edits of the solutions
    checks_in_python    the checkers of exercises in plain Python
    exercises           how an answer is checked, and which mistake has the same results
    student_code        mistakes that a kernel's text shows, and the line at which it stopped
    progress            the exercises solved so far, over all notebooks
    checking            guarded memory, comparison with float64, the verdict
    barriers            programs that wait for each other, without a GPU too
    blanks, solutions   what students and instructors see of an exercise
    measure             what a training step does on this machine
    busy                how quiet the machine was meanwhile
    comparisons         contenders timed on this machine, with stored rows beside them
    elsewhere           stored rows of others, prototypes beside them, the model against them
    precision           what tensor cores' rounding of operands does to a training step
    resources           what a kernel takes of an SM, and what a limit on registers does to it
    pictures, plots     diagrams, and figures of what was measured

It works from a checkout, with the repository's root on `sys.path`, and is part of no wheel.
"""
