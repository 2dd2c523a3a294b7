"""The report's texts on the experiments that do not depend on a run: set-up, questions, captions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .words import worded


@dataclass(frozen=True)
class Section:
    """The texts of one experiment."""

    name: str
    title: str
    setup: tuple[str, ...]
    before: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]  # file name, caption
    after: tuple[str, ...]
    pictures: tuple[
        tuple[str, str], ...
    ] = ()  # file name, caption; the part after the last "_" says which kind

    def worded(self, results: Mapping[str, Any]) -> "Section":
        """The texts for the data of these results, which may be no digits."""
        setup, before, after = (
            tuple(worded(text, results) for text in texts) for texts in (self.setup, self.before, self.after)
        )
        return replace(self, setup=setup, before=before, after=after)


#: Experiments of one run, whose curves over epochs are in figures/; every other drawing is in pictures/.
ONE_RUN = ("clean", "shuffled", "hundred")


def place_of(name: str) -> str:
    """The folder of a drawing within the lesson's folder: figures or pictures."""
    curves = (figure for section in SECTIONS if section.name in ONE_RUN for figure, _ in section.figures)
    return "figures" if name in curves else "pictures"


SECTIONS = (
    Section(
        "clean",
        "Clean labels",
        ("First the ordinary case: every training image comes with its true label.",),
        (
            "Sketch the cost over the epochs, one curve for the training set and one for the validation set. "
            "Which of them ends lower?",
            "Will the two curves stay together, or separate at some point?",
            "If training went on for very many epochs, towards which cost would each curve go?",
        ),
        (
            ("clean_cost", "Cost per image after each epoch, true labels."),
            (
                "clean_cost_fits",
                "The same curves enlarged, with a straight line fitted to each from epoch 20 on.",
            ),
        ),
        (
            "How do the two curves differ in the long run?",
            "From about which epoch on is the validation curve level? What is going on there?",
            "Compare the slopes of the two lines. If the training cost falls while the validation cost does "
            "not, what does that say about what the model is still learning?",
        ),
        (
            (
                "clean_weights",
                "The weights of each unit of the first hidden layer, as images: red where ink raises the unit's "
                "output, blue where it lowers it. Where no image has ink, the weights are still as they started.",
            ),
            ("clean_confusion", "Answers on the validation set by true label, in percent of each row."),
            ("clean_mistakes", "The wrong answers on the validation set that the network is surest of."),
        ),
    ),
    Section(
        "shuffled",
        "Shuffled labels",
        (
            "Now the data are broken on purpose. The images stay, but their labels are shuffled like cards: every "
            "digit occurs as often as before, but an image and its label no longer belong together. The "
            "validation set keeps its true labels, and the network starts from the same parameters.",
        ),
        (
            "Sketch both cost curves again. What can be learned from labels that mean nothing?",
            "What accuracy does guessing give, without a look at the image?",
            "Which of the two accuracies can end above guessing, and which below?",
        ),
        (
            ("shuffled_cost", "Cost per image after each epoch, shuffled labels."),
            (
                "shuffled_accuracy",
                "Accuracy after each epoch: on the training images against their shuffled labels, on the "
                "validation images against the true ones; with a logistic curve fitted to the former.",
            ),
        ),
        (
            "What do the curves do in the long run, and how does that differ from the clean run?",
            "Is one of the accuracies better than guessing? Is one of them worse? How can that be?",
            "Why does the training accuracy stop rising?",
            "What would happen if the network were given only 100 of these examples?",
        ),
        (("shuffled_confusion", "Answers on the validation set by true label, in percent of each row."),),
    ),
    Section(
        "hundred",
        "A hundred shuffled examples",
        (
            "The same broken data, but only their first 100 examples, and more epochs to make up for it. "
            "The network starts from the same parameters again.",
        ),
        (
            "What is the highest training accuracy that the network will reach?",
            "And at that moment, what will its accuracy on the validation set be?",
        ),
        (
            ("hundred_cost", "Cost per image after each epoch, 100 shuffled examples."),
            ("hundred_valid_accuracy", "Accuracy on the validation set with its true labels."),
            (
                "hundred_train_accuracy",
                "Accuracy on the 100 training images against their shuffled labels, with a logistic curve "
                "fitted to it.",
            ),
        ),
        (
            "How good was your prediction?",
            "Compare the highest training accuracy with 100 examples and with all of them.",
            "Why can this network memorise the few but not the many? How would you change it so that it "
            "could?",
            "Look at the validation accuracy late in the run. Does it rise, and if so, towards what?",
        ),
        (
            (
                "hundred_weights",
                "What memorising looks like: the weights of the first hidden layer, as images, on a "
                "colour scale of their own. Compare them with those of the clean run.",
            ),
            ("hundred_confusion", "Answers on the validation set by true label, in percent of each row."),
        ),
    ),
    Section(
        "label_noise",
        "Some labels shuffled",
        (
            "Now only a share of the training labels is shuffled: none, a quarter, half, three quarters, nine "
            "tenths, all. Each time the network starts from the same parameters and is trained for the same few "
            "epochs. The validation set keeps its true labels, so the accuracy there shows what the network has "
            "learned about the images.",
        ),
        (
            "Half of the labels are shuffled. What will the validation accuracy be, in percent?",
            "And with nine tenths of them?",
            "Sketch the validation accuracy over the share of shuffled labels, from none to all.",
        ),
        (
            (
                "label_noise",
                "Accuracy after the last epoch, over the share of shuffled labels: on the training images against "
                "their labels, shuffled or not, and on the validation images against the true ones. The dotted "
                "line is the share of training labels that are still right.",
            ),
        ),
        (
            "How good was your prediction?",
            "With nine tenths of the labels shuffled, how many of them are wrong? Why not nine tenths?",
            "How can a network become so good with labels that are mostly wrong?",
            "Why is the training accuracy so much lower than the validation accuracy here?",
            "Suppose all the wrong labels of a digit named the same other digit. Would that be better or worse?",
        ),
    ),
    Section(
        "capacity",
        "How much can be memorised",
        (
            "Between 100 and 50,000 shuffled examples the network stops being able to learn them all by heart. "
            "Each run here has the same number of steps; with the same number of epochs, fewer examples would "
            "mean fewer steps, and less time to learn.",
            "Then three networks with wider and wider hidden layers learn the same shuffled examples. The wider "
            "ones have a smaller learning rate: a unit adds up more terms there, the same step moves each of "
            "them, and so the step as a whole grows with the width.",
        ),
        (
            "Sketch the highest training accuracy over the number of shuffled examples, from 100 to 10,000.",
            "From which number on does the network memorise less than half of the labels?",
            "How much does it help to double the width of the hidden layers, and to double it again?",
        ),
        (
            ("capacity", "Highest training accuracy of each run, over the number of shuffled examples."),
            ("capacity_widths", "Highest training accuracy of each network on the same shuffled examples."),
        ),
        (
            "How good was your prediction?",
            "How many labels has each run memorised? Is that a number that the network could not exceed?",
            "What else would you change so that the network memorises more?",
        ),
    ),
)
