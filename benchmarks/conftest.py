"""Interleaved timing under pytest-benchmark.

Contenders have to be timed in turn, A B A B, which tests that run one after another cannot do. So all selected
contenders of a suite are timed when the first of them comes up, and each test hands its own contender's times to
pytest-benchmark, through a clock that reads them out.

BREAKNET_BENCH_SIZE is `quick` (the default) or `full`; BREAKNET_BENCH_DEVICE `cpu` (the default) or `cuda`. A group's
rows are saved under benchmarks/results/ if all of its contenders were selected and none failed; quick ones only
where there are no full ones. Without `--benchmark-enable` every contender is only checked against float64.
"""

import pytest

from benchmarks.bench import Bench

BENCH = pytest.StashKey[Bench]()


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[BENCH] = Bench()
    except ValueError as error:  # of a setting in the environment
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    suites = metafunc.config.stash[BENCH].contenders
    cases = [pytest.param(suite, one, id=one.name) for suite, some in suites.items() for one in some]
    metafunc.parametrize(("suite", "contender"), cases)


def pytest_collection_finish(session: pytest.Session) -> None:
    bench = session.config.stash[BENCH]
    for item in session.items:
        params = item.callspec.params
        bench.selected.setdefault(params["suite"], []).append(params["contender"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[BENCH].save():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Bench:
    return request.config.stash[BENCH]
