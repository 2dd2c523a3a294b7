"""A lesson with answers: a second page beside the report, which a later lesson may replace like the rest."""

import pytest
from tiny import tiny_digits, write_tiny_idx

from breaknet.cli.commands import main
from breaknet.lesson.experiments import Lesson, Settings
from breaknet.lesson.output_folder import LessonFolder


def test_the_page_with_answers_is_one_of_a_lessons_files(tmp_path):
    folder = tmp_path / "out"
    lesson = Lesson(tiny_digits(), Settings(epochs_scale=0.01, backend="torch"))
    results = LessonFolder(folder).run(lesson, answers=True)
    assert '<body class="answers">' in (folder / "answers.html").read_text()
    assert '<body class="answers">' not in (folder / "report.html").read_text()
    assert results["files"]["answers.html"] == (folder / "answers.html").stat().st_size
    LessonFolder(folder).abandon()  # the folder holds nothing but a lesson, so another may replace it
    (folder / "answers.html").write_text("mine")
    with pytest.raises(OSError, match=r"answers\.html"):
        LessonFolder(folder)


@pytest.mark.slow
def test_the_option_adds_the_page_and_a_lesson_without_it_takes_it_away(tmp_path):
    data = str(write_tiny_idx(tmp_path / "tiny"))
    command = ["lesson", "--data", data, "--out", str(tmp_path / "out"), "--backend", "torch", "-q"]
    assert main([*command, "--epochs-scale", "0.01", "--answers"]) == 0
    assert (tmp_path / "out/answers.html").exists()
    assert main([*command, "--epochs-scale", "0.01"]) == 0
    assert not (tmp_path / "out/answers.html").exists()
    assert (tmp_path / "out/report.html").exists()
