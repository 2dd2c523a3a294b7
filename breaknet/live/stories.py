"""Settings that tell a story, each with one question: the lesson's three experiments and more."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import Settings


@dataclass(frozen=True)
class Story:
    """A name, the question to answer before looking, and the settings to look at."""

    name: str
    question: str
    settings: Settings


#: The lesson's three experiments at their full size, then others of a size that is redrawn at once.
STORIES = (
    Story(
        "Lesson 1: good data",
        "The training cost keeps falling. Does the validation cost follow it to the end?",
        Settings(examples=50_000, epochs=100),
    ),
    Story(
        "Lesson 2: shuffled labels",
        "There is nothing to learn. Which accuracy does guessing give, and can training beat it?",
        Settings("shuffle_labels(1)", examples=50_000, epochs=100),
    ),
    Story(
        "Lesson 3: a hundred shuffled labels",
        "Can this network learn 100 labels that mean nothing? What would that be worth on new digits?",
        Settings("shuffle_labels(1) + fewer_examples(100)", examples=50_000, epochs=1_000),
    ),
    Story(
        "Memorising",
        "With 200 examples, where does the training curve end, and where does the validation curve stop following?",
        Settings(examples=200, epochs=400),
    ),
    Story(
        "Half of the labels wrong",
        "Every second label is wrong. Will the network be wrong every second time?",
        Settings("flip_labels(0.5)", examples=10_000, epochs=20),
    ),
    Story(
        "Too high a learning rate",
        "Larger steps learn faster, until they do not. What does the cost do when the steps are far too large?",
        Settings(learning_rate=5.0, epochs=30),
    ),
    Story(
        "A leaking pixel",
        "One pixel gives the label away in training, not in validation. What does hidden unit 1 to 16 look at?",
        Settings("leak(1)", epochs=30),
    ),
    Story(
        "One class missing",
        "There was no 7 in training. What is a 7 called, and how sure is the network?",
        Settings("missing_class(7)", examples=5_000, epochs=30),
    ),
    Story(
        "Every 4 called 9",
        "The accuracy falls only by about a tenth. Where in the confusion table is the error?",
        Settings("mislabel_class(4, 9, 1)", examples=5_000, epochs=30),
    ),
    Story(
        "A test that has moved",
        "The validation digits stand three pixels to the right. How much does that matter to you, and to the network?",
        Settings("shift(3, 0)", examples=5_000, epochs=30),
    ),
    Story(
        "White and black changed places",
        "No information is lost. Why does the cost stay where it is?",
        Settings("invert", epochs=30),
    ),
    Story(
        "Pixels in another order",
        "You can read nothing any more. Can the network?",
        Settings("permute_pixels", examples=5_000, epochs=30),
    ),
)


def described_stories() -> list[dict[str, str]]:
    """The stories as the page lists them."""
    return [
        {"name": story.name, "question": story.question, "link": story.settings.link} for story in STORIES
    ]
