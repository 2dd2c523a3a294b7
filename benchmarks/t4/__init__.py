"""A T4 on paper: microseconds a step and seconds a lesson from machine code that was cross-compiled, without a T4.

    python -m benchmarks.t4                  # the prediction, if the rows of measured GPUs confirm the model
    python -m benchmarks.t4 --unchecked      # the prediction all the same, labelled as unchecked
    python -m benchmarks.t4 --assumptions    # every number that the model takes from elsewhere, with its source
    python -m benchmarks.t4 --mix            # what the hot loops hold
    python -m benchmarks.t4 --save           # write prediction.json, from which documents are made

control_flow.py    SASS listing -> instructions -> loops, nested, by back edges of the control-flow graph
instruction_mix.py what an instruction occupies, reads and writes
rates.py           what published sources say of each GPU; the assumptions
model.py           clock cycles of nested loops
workloads.py       each kernel's loops and how often they turn, by its launch configuration
gate.py            predictions held against stored rows: nothing is shown if one is off by more than a factor of two
storage.py         the model's results as a file

A figure of this room is a prediction and is called so wherever it stands.
"""
