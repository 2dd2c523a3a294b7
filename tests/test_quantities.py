"""Numbers, counts and times as text, where they change their unit and between."""

import pytest

from breaknet.quantities import digits, duration, number_of, time


@pytest.mark.parametrize(
    ("write", "pairs"),
    [
        (digits, {0: "0", 0.012345: "0.0123", 1: "1.00", 9.996: "10.0", 999.6: "1,000", 12_345: "12,300"}),
        (
            time,
            {
                3e-8: "30.0 ns", 6.2e-5: "62.0 us", 9.9949e-4: "999 us", 9.996e-4: "1.00 ms", 0.2: "200 ms",
                0.9994: "999 ms", 0.9996: "1.00 s", 1.0: "1.00 s", 9.996: "10.0 s", 525: "525 s",
            },
        ),
        (
            duration,
            {0: "1 s", 1.4: "1 s", 89.4: "89 s", 90: "2 min", 5399: "90 min", 5400: "1.5 h", 4e6: "1,111.1 h"},
        ),
        (lambda number: number_of(number, "core"), {0: "0 cores", 1: "1 core", 2: "2 cores"}),
        (lambda number: number_of(number, "launch", "launches"), {1: "1 launch", 3000: "3,000 launches"}),
    ],
)  # fmt: skip
def test_numbers_as_text(write, pairs):
    assert {value: write(value) for value in pairs} == pairs
