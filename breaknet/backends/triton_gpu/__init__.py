"""The Triton backend: jobs become groups, groups become launches, launches become results."""
