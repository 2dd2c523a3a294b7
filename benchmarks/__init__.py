"""Measurements of every implementation, and the documents made from them. docs/benchmarks.md says how to measure.

problem, measure, rows, machine   the work, timing in turn, stored rows with their conditions, the machine's facts
floors, launches, microbenchmarks/, kernel_counts, t4_model, t4_gate   limits of the hardware, predicted times
contenders/, suites/              the implementations in one table, and what is measured of them
tables/, results/                 tables and plots of the documents, made from the stored rows
bench, conftest, test_suites      `make bench`
gpu, gpu_part, gpu_report, processes, fakes/hypothesis   one session on a GPU
this_gpu, measure_this_gpu, classroom/   a session on anybody's GPU, its notebook; the classroom's notebook, timed
"""
