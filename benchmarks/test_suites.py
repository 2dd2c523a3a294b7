"""Every contender of every suite as a test of pytest-benchmark; `conftest.py` says how they are timed.

BREAKNET_DATA=folder pytest benchmarks --benchmark-enable
BREAKNET_BENCH_SIZE=full BREAKNET_BENCH_DEVICE=cuda pytest benchmarks --benchmark-enable -k ladder
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.bench import REPLAY, Bench
from benchmarks.measure import Contender, Missing, check


@pytest.mark.benchmark(timer=REPLAY)
def test_contender(suite: str, contender: Contender, bench: Bench, benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"{contender.comparison}: {contender.work}"
    try:
        if not benchmark.enabled:
            check(contender)
            benchmark.pedantic(lambda: None)
            return
        row = bench.row(suite, contender)
    except Missing as reason:
        benchmark.skipped = True
        pytest.skip(str(reason))
    seconds = bench.session.times[contender.name].seconds
    benchmark.extra_info.update(row.conditions, launches=row.launches, floor=row.floor)
    REPLAY.load(seconds)
    benchmark.pedantic(lambda: None, rounds=len(seconds))
