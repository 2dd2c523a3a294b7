"""The Triton backend: jobs become groups, groups become launches, launches become results.

backend    the interface's functions
grouping   which jobs share launches, by plan and tiles, and their trainer
rounds     some epochs of every job at a time, evaluated while the next are trained; data on the device
kept_images   the images of `evaluate` that stay on the device between calls
"""
