"""The lesson: three experiments, their fits, figures and report."""
