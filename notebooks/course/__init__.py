"""What the GPU-performance course imports; the course itself is `notebooks/gpu_performance.py`.

    here                where the course runs: device, Triton or why there is none, sizes, digits
    specs               each exercise's torch spec, with shapes in its annotations
    checks              the kernels' checkers, checks_in_python those of exercises in plain Python, out of
                        exercise (how a kernel is checked), memory (garbage and guard zones), diagnosis (what is said)
                        and barriers (programs that wait for each other, without a GPU too)
    pictures, plots     diagrams, and figures of what was measured, both out of drawing;  show: tables and sources
    measure             what a step does and takes on this machine
    timings             the ladder, climbed here, with stored rows beside it
    precision           what tensor cores' rounding of operands does to a training step
    resources           what a kernel takes of a multiprocessor, and what a limit on registers does to it
    solutions, wrong    the solutions, read from the course's source, and the usual mistakes, as edits of them

It works from a checkout, with the repository's root on `sys.path`, and is part of no wheel.
"""
