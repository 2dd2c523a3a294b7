"""Other ways to do the lesson's work, each as its users would write it, in the form of `benchmarks.problem`.

`jax_scan` and `torch_func` train one network or many on the same images, `torch_scores` scores many; `agreement` says
what float64 gives. The rungs of `benchmarks.ladder` are the rest of the company.
"""
