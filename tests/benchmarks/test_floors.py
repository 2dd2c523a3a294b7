"""The least work of a step and of evaluations, by hand."""

from benchmarks.floors import Work, evaluation, training_step

CEILINGS = {"bytes_per_s": 1e9, "flop_per_s": 1e10}


def test_a_step_by_hand():
    found = training_step(100)
    forward = 784 * 16 + 16 * 16 + 16 * 10  # 12,960 FMAs an image
    deltas = 16 * 16 + 16 * 10  # back through the two upper layers
    updates = 13_002  # one FMA a parameter
    assert found.operations == 2 * (100 * (2 * forward + deltas) + updates)
    assert found.bytes == 100 * (784 * 4 + 10 * 4) + 2 * 4 * 13_002


def test_a_step_that_keeps_its_parameters_and_skips_zeros():
    found = training_step(10, image_bytes=784.0, label_bytes=4.0, inked=0.25, held=True)
    small = 16 * 16 + 16 * 10
    assert found.operations == 2 * (10 * (2 * (196 * 16 + small) + small) + 13_002)
    assert found.bytes == 10 * 788


def test_evaluations_by_hand():
    found = evaluation(60_000, models=100, image_bytes=784.0, label_bytes=4.0)
    assert found.operations == 2 * 60_000 * 12_960
    assert found.bytes == 60_000 * 788 / 100 + 4 * 13_002


def test_the_floor_is_that_of_the_slower():
    assert Work(2e9, 1e9).floor(CEILINGS) == {"bytes": 2e9, "operations": 1e9, "seconds": 2.0}
    assert Work(1e9, 5e10).floor(CEILINGS)["seconds"] == 5.0


def test_without_ceilings_there_is_no_floor():
    assert Work(1.0, 1.0).floor({}) == {}
    assert Work(1.0, 1.0).floor({"flop_per_s": 1e9}) == {}
