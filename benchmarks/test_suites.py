"""Every contender of every suite as a test of pytest-benchmark; `conftest.py` says how they are timed.

BREAKNET_DATA=folder pytest benchmarks --benchmark-enable
BREAKNET_BENCH_SIZE=full BREAKNET_BENCH_DEVICE=cuda pytest benchmarks --benchmark-enable -k ladder
"""

from collections import deque

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.bench import Bench
from benchmarks.measure import Contender, Missing, check

#: What pytest-benchmark reads on its clock, at the start and at the end of every round.
CLOCK: deque[float] = deque()


@pytest.mark.benchmark(timer=CLOCK.popleft)
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
    seconds = bench.session.times[contender.name]
    benchmark.extra_info.update(row.conditions, launches=row.launches, floor=row.floor)
    CLOCK.extend(mark for one in seconds for mark in (0.0, one))
    benchmark.pedantic(lambda: None, rounds=len(seconds))
