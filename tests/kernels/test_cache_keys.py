"""The names of kernels in Triton's cache do not depend on what was launched or compiled before them."""

import json

import pytest
from checks import run_python

pytest.importorskip("triton")

KEYS = """
import json, sys
from importlib import import_module
from concurrent.futures import ThreadPoolExecutor
modules = ["evaluation", "cooperative_training", "packed_training", "packed_training_tensor", "linear_sigmoid"]
kernels = {}
for name in modules:
    found = vars(import_module(f"breaknet.kernels.{name}"))
    kernels |= {key: one for key, one in found.items() if key.endswith("_kernel") and hasattr(type(one), "cache_key")}
order = {"first": sorted(kernels), "last": sorted(kernels)[::-1], "threads": sorted(kernels)}[sys.argv[1]]
with ThreadPoolExecutor(8 if sys.argv[1] == "threads" else 1) as pool:
    keys = dict(zip(order, pool.map(lambda name: kernels[name].cache_key, order)))
print(json.dumps([sys.argv[1], sorted(keys.items())]))
"""


def test_a_kernel_has_one_name_whatever_is_named_first():
    orders = ("first", "last", "threads")
    found = dict(json.loads(run_python("-c", KEYS, order, TRITON_INTERPRET="0").stdout) for order in orders)
    assert len(found["first"]) >= 6
    assert found["first"] == found["last"] == found["threads"]
