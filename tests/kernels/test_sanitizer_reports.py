"""Of racecheck's hazards only those are accepted in which one instruction stores copies of an element."""

import pytest
from sanitizer_reports import refused_hazards

PLACE, OTHER = "kernel+0x1a0 in training_step.py:201", "kernel+0x2b0 in training_step.py:205"


def report(*hazards: tuple[str, str, str], summary: int | None = None) -> str:
    lines = ["========= COMPUTE-SANITIZER", "trained"]
    for severity, first, second in hazards:
        lines.append(f"========= {severity}: Race reported between {first}")
        lines += [f"=========     and {second} [64 hazards]", "========= "]
    count = len(hazards) if summary is None else summary
    return "\n".join(
        [*lines, f"========= RACECHECK SUMMARY: {count} hazards displayed (0 errors, 0 warnings)"]
    )


def write(place: str) -> str:
    return f"Write access at {place}"


def test_copies_that_one_instruction_stores_are_accepted():
    assert refused_hazards(report()) == []
    hazards = [
        (severity, write(place), write(place)) for severity in ("Warning", "Info") for place in (PLACE, OTHER)
    ]
    assert refused_hazards(report(*hazards)) == []


@pytest.mark.parametrize(
    "hazard",
    [
        ("Error", write(PLACE), write(PLACE)),
        ("Warning", write(PLACE), write(OTHER)),
        ("Info", write(PLACE), write(PLACE.replace("0x1a0", "0x1b0"))),
        ("Warning", write(PLACE), f"Read access at {PLACE}"),
        ("Warning", f"Read access at {PLACE}", f"Read access at {PLACE}"),
    ],
)
def test_every_other_hazard_is_refused(hazard):
    harmless = ("Warning", write(PLACE), write(PLACE))
    (line,) = refused_hazards(report(harmless, hazard, harmless))
    assert line.startswith(hazard[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "trained",
        report(summary=1),
        report(("Warning", write(PLACE), write(PLACE)), summary=0),
        report() + "\n========= Error: Potential WAW hazard detected at __shared__ 0x0 in block (0, 0, 0) :",
        report() + f"\n=========     and {write(PLACE)} [1 hazard]",
    ],
)
def test_what_is_no_whole_report_is_an_error(text):
    with pytest.raises(ValueError, match="report: "):
        refused_hazards(text)
