"""The command line.

commands           `breaknet` itself, `lesson`, `data`, `kernels` and `doctor`
networks, sweeps   `train` and `evaluate`; `sweep` and `atlas`
class_page, live   `class`; `play`
bench, doctor      an epoch timed on this machine; the report of what works on it
options, output    options that several commands share; what is printed, and errors
"""
