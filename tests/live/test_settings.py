"""Links hold settings, values outside their range are refused, and what is described is all there is."""

import re

import pytest

import breaknet
from breaknet.breakage import BREAKAGES, parse
from breaknet.live.settings import KNOBS, MAX_WORK, Settings, described_knobs
from breaknet.live.stories import STORIES


def test_a_link_reads_back_what_it_was_written_from():
    settings = Settings(
        "flip_labels(0.25) + both:shift(2, -1) + pixel_noise(0.1, seed=3)", 1234, 7, 0.125, 33, 5, 9, 11
    )
    assert Settings.from_link(settings.link) == settings
    assert Settings.from_link("?" + settings.link) == settings
    assert Settings.from_link("") == Settings()
    assert Settings().link == ""


@pytest.mark.parametrize("name", BREAKAGES)
def test_every_way_to_break_data_fits_into_a_link(name):
    settings = Settings(f"shuffle_labels(0.5) + {BREAKAGES[name].example}")
    assert Settings.from_link(settings.link) == settings
    assert [step["name"] for step in settings.described()["steps"]] == ["shuffle_labels", name]


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("epochs=0", "epochs: 1 to 2,000, not 0"),
        ("epochs=1e3", "epochs: a whole number from 1 to 2,000, not '1e3'"),
        ("learning_rate=nan", "learning_rate: 0.0001 to 100, not nan"),
        ("learning_rate=inf", "learning_rate: 0.0001 to 100, not inf"),
        ("hidden1=129", "hidden1: 1 to 128, not 129"),
        ("examples=-5", "examples: 10 to 50,000, not -5"),
        ("batch_size=" + "9" * 400, "batch_size: a whole number from 1 to 5,000, not"),
        ("seed=" + "9" * 3900, "seed: a whole number from 0 to 999,999, not"),
        ("seed=" + "9" * 4000, "link: at most 4,000 characters, not 4,005"),
        ("epochs=2&epochs=3", "link: epochs stands twice"),
        ("&".join(["epochs=2"] * 21), "link: each of break, examples, "),
        ("backend=torch", "link: one of break, examples"),
        ("break=shuffle_labels(2)", "breakage: fraction: 0 to 1, not 2"),
        ("break=__import__('os')", "breakage: one of "),
        ("break=" + "%2B".join(["invert"] * 21), "breakage: at most 20 steps, not 21"),
        ("examples=50000&epochs=2000&hidden1=128", "epochs: so many"),
        ("examples=50000&epochs=1000&batch_size=1&hidden1=1", "epochs: so many"),
    ],
)
def test_values_outside_their_range_are_refused_in_one_line(link, said):
    with pytest.raises(ValueError, match="^" + re.escape(said)) as refused:
        Settings.from_link(link)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


def test_the_largest_run_that_is_taken_is_bounded():
    """Whatever a link says, its run is at most about a minute of a core, by its count of FMAs."""
    accepted = 0
    for examples in (10, 2_000, 50_000):
        for epochs in (1, 200, 2_000):
            for batch in (1, 100, 5_000):
                for hidden in (1, 16, 128):
                    link = f"examples={examples}&epochs={epochs}&batch_size={batch}&hidden1={hidden}"
                    try:
                        assert Settings.from_link(link).work <= MAX_WORK
                        accepted += 1
                    except ValueError:
                        pass
    assert 30 < accepted < 81


def test_more_examples_than_there_are_mean_all():
    assert Settings.from_link("examples=50000", 300).examples == 300


def test_the_description_names_every_knob_and_breakage():
    described = described_knobs(400)
    assert [knob["name"] for knob in described["numbers"]] == [knob.name for knob in KNOBS]
    assert described["numbers"][0]["high"] == 400
    names = [breakage["name"] for breakage in described["breakages"]]
    assert names[0] == "shuffle_labels"
    assert sorted(names) == sorted(BREAKAGES)


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.filterwarnings("ignore:.*learned nothing")
def test_what_stories_say_happens(mnist):
    """The questions assume something of the outcome; on the real digits it is so."""
    runs = {}
    for story in STORIES:
        chosen = story.settings
        train, valid = (
            breaknet.break_data(split, chosen.breakage, chosen.seed, part)
            for part, split in (("train", mnist.train[: chosen.examples]), ("valid", mnist.valid))
        )
        runs[story.name] = breaknet.train(
            train, valid=valid, epochs=chosen.epochs, learning_rate=chosen.learning_rate
        )
    last = {name: run.valid_accuracy[-1] for name, run in runs.items()}
    clean = breaknet.train(mnist.train[:5000], valid=mnist.valid, epochs=30).valid_accuracy[-1]
    costs = runs["Lesson 1: good data"].train_cost
    assert costs[-1] < costs[50] < costs[20]
    assert runs["Lesson 3: a hundred shuffled labels"].train_accuracy[-1] > 0.95
    assert runs["Memorising"].train_accuracy[-1] > 0.95 > last["Memorising"] + 0.15
    assert last["Half of the labels wrong"] > 0.8
    assert runs["Too high a learning rate"].stuck_at is not None
    assert runs["A leaking pixel"].train_accuracy[-1] > last["A leaking pixel"] + 0.1
    assert 0.07 < clean - last["Every 4 called 9"] < 0.13
    assert last["One class missing"] < clean - 0.07
    assert last["A test that has moved"] < clean - 0.3
    inverted = runs["White and black changed places"].train_cost
    assert abs(inverted[-1] - inverted[0]) < 0.05
    assert last["Pixels in another order"] > clean - 0.03


def test_stories_are_the_lessons_three_and_six_or_more_each_with_one_question():
    assert [story.name.partition(":")[0] for story in STORIES[:3]] == ["Lesson 1", "Lesson 2", "Lesson 3"]
    assert len(STORIES) >= 9
    assert len({story.settings for story in STORIES}) == len(STORIES)
    for story in STORIES:
        assert story.question.endswith("?")
        assert Settings.from_link(story.settings.link) == story.settings
        assert parse(story.settings.breakage)
