"""Input as people type it: other forms of data, other names, a run's methods, and what a notebook shows."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from checks import assert_same_parameters, random_labels, run_python, sparse_images
from tiny import tiny_digits

import breaknet
from breaknet import Checkpoints, Digits, Evaluation, Job, Split, breakage

IMAGES, LABELS = sparse_images(60), random_labels(60)
PAIR = IMAGES, LABELS
FLOATS = (IMAGES / 256).astype(np.float32)
WHERE = {"backend": "numba", "device": "cpu"}


@pytest.fixture(scope="module")
def run():
    return breaknet.train(PAIR, valid=PAIR, epochs=4, batch_size=10, **WHERE)


def test_images_and_labels_work_like_the_pair(run):
    split = Split(*PAIR)
    for arguments in [
        (IMAGES, LABELS),
        (IMAGES, LABELS.tolist()),
        (split,),
        ((IMAGES, list(LABELS)),),
        tuple(split),
    ]:
        found = breaknet.train(*arguments, epochs=4, batch_size=10, **WHERE)
        assert_same_parameters(found.checkpoints.stacked, run.checkpoints.stacked)
    expected = breaknet.evaluate(run.checkpoints, PAIR, **WHERE).cost
    for arguments in [(run, IMAGES, LABELS), (run, split), (run, IMAGES, LABELS.tolist())]:
        assert (breaknet.evaluate(*arguments, **WHERE).cost == expected).all()


def test_a_split_unpacks_and_still_has_a_length():
    images, labels = Split(*PAIR)
    assert images is IMAGES
    assert labels is LABELS
    assert len(Split(*PAIR)) == 60


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: breaknet.train(IMAGES), "data: a Split or a pair (images, labels), not a ndarray without labels"),
        (lambda: breaknet.train(tiny_digits()), "not Digits; name a part of them, such as digits.train"),
        (lambda: breaknet.train(PAIR, Split(*PAIR)), "labels: only beside images, but data is a tuple of 2 with"),
        (lambda: breaknet.train(IMAGES, Split(*PAIR)), "labels: whole numbers 0 to 9, not a Split"),
        (lambda: breaknet.train(IMAGES, list("abc" * 20)), "data labels: whole numbers, not a str as in the list"),
        (lambda: breaknet.train(PAIR, lr=0.1), "lr: no argument of train; it is called learning_rate"),
        (lambda: breaknet.train(PAIR, batchsize=10), "batchsize: no argument of train; it is called batch_size"),
        (lambda: breaknet.train(PAIR, n_epochs=10), "it is called epochs"),
        (lambda: breaknet.train(PAIR, iterations=10), "it is called epochs"),
        (lambda: breaknet.train(PAIR, validation_data=PAIR), "it is called valid"),
        (lambda: breaknet.train(X=IMAGES, y=LABELS), "X: no argument of train; it is called data"),
        (lambda: breaknet.train(PAIR, learning_rat=1), "it is called learning_rate"),
        (lambda: breaknet.train(PAIR, momentum=0.9), "momentum: no argument of train; it takes data, labels, valid,"),
        (lambda: Job(PAIR, lr=0.1), "lr: no argument of Job; it is called learning_rate"),
        (lambda: breaknet.evaluate(model=None, data=PAIR), "model: no argument of evaluate; it is called models"),
        (lambda: breaknet.shuffle_labels(PAIR, ratio=0.1), "it is called fraction"),
        (lambda: breaknet.shuffle_labels(IMAGES), "split: a Split such as digits.train or a pair (images, labels)"),
        (lambda: breaknet.plot([1]), "runs: a Run or a mapping of names to Runs, not a list"),
        (lambda: breaknet.plot({"a": 1}), "runs: a Run for each name, but 'a' has a int"),
        (lambda: Job(PAIR, name=3) and breaknet.train_many([Job(PAIR, name=3)]), "name: text, not 3"),
    ],
)  # fmt: skip
def test_a_wrong_guess_is_one_line_that_names_the_right_one(call, line):
    with pytest.raises(TypeError) as raised:
        call()
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("labels", [[[1, 2], [3]], [1.5] * 60, [11] * 60])
def test_wrong_lists_of_labels_are_one_line(labels):
    with pytest.raises(ValueError, match=r"^data( labels)?: [^\n]*$"):
        breaknet.train(IMAGES, labels, epochs=1)


def test_ways_to_break_take_pairs_and_give_splits():
    split = Split(*PAIR)
    expected = breaknet.shuffle_labels(split, 0.5, seed=3)
    for pair in [
        PAIR,
        [FLOATS, LABELS.tolist()],
        (torch.from_numpy(IMAGES).reshape(60, 28, 28), torch.from_numpy(LABELS)),
    ]:
        found = breaknet.shuffle_labels(pair, 0.5, seed=3)
        assert isinstance(found, Split)
        assert (found.labels == expected.labels).all()
        assert (found.images == IMAGES).all()
        assert found.breakage == "shuffle_labels(0.5, seed=3)"
    assert (breaknet.break_data(PAIR, "missing_class(3)").labels != 3).all()
    assert (breakage.invert(PAIR).images == 255 - IMAGES).all()
    with pytest.raises(ValueError, match=r"split images: uint8, or floating that are whole bytes / 256"):
        breaknet.shuffle_labels((FLOATS * 256 / 255, LABELS))


def test_a_model_takes_bytes_and_numpy_and_is_otherwise_a_module():
    model = breaknet.MLP.seeded(1)
    floats = torch.from_numpy(FLOATS)
    expected = model(floats)
    square = IMAGES.reshape(-1, 28, 28)
    for given in (
        IMAGES,
        torch.from_numpy(IMAGES),
        FLOATS,
        FLOATS.astype(np.float64),
        square,
        torch.from_numpy(square),
        IMAGES[::-1][::-1],
    ):
        assert torch.equal(model(given), expected)
    assert torch.equal(model(IMAGES[3]), model(floats[3]))
    assert model.half()(IMAGES).dtype == torch.float16
    with pytest.raises(ValueError, match="images: uint8 or floating, not int64"):
        model(IMAGES.astype(np.int64))
    with pytest.raises(RuntimeError):
        model.float()(floats.long())  # tensors of other kinds are torch's business, as before
    inputs = floats.clone().requires_grad_(True)
    model(inputs).sum().backward()
    assert inputs.grad is not None

    class Own(breaknet.MLP):
        def forward(self, images):
            return images

    assert Own()(IMAGES) is IMAGES


def test_models_of_ours_are_still_known_as_ours(monkeypatch):
    from breaknet import fast_paths
    from breaknet.notebook import NN_Model

    for model in (breaknet.MLP(), NN_Model()):
        assert fast_paths.difference_in_outputs(model) is None
    monkeypatch.setattr(breaknet.MLP, "__call__", lambda self, images: images)
    assert fast_paths.difference_in_outputs(breaknet.MLP()) == "this model has a __call__ of its own"


def test_what_a_run_can_do(run, tmp_path):
    assert_same_parameters(run.model.state_dict(), run.checkpoints[-1].state_dict())
    expected = run.model(IMAGES).argmax(1).numpy()
    for images in (IMAGES, IMAGES.reshape(-1, 28, 28), Split(*PAIR), torch.from_numpy(FLOATS)):
        assert (run.predict(images) == expected).all()
    assert run.predict(IMAGES[7]) == run.predict(IMAGES[7].reshape(28, 28)) == expected[7]
    assert (run.predict(IMAGES) == LABELS).mean() == pytest.approx(run.train_accuracy[-1])
    assert run.predict(IMAGES[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"images: shape \[N, 784\]"):
        run.predict(IMAGES[:, :100])
    found = json.loads(json.dumps(run.to_dict(), allow_nan=False))
    assert found["valid_cost"] == run.valid_cost.tolist()
    assert (found["epoch"], found["stuck_at"], found["settings"]["learning_rate"]) == (
        [0, 1, 2, 3],
        None,
        "0.05",
    )
    run.to_csv(tmp_path / "new" / "run.csv")
    run.to_csv(tmp_path / "new" / "run.csv")
    with open(tmp_path / "new" / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_accuracy"]) for row in rows] == run.train_accuracy.tolist()
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    (tmp_path / "other.csv").write_text("epoch,mine\n1,2\n")
    with pytest.raises(breaknet.DataError, match=r"another file than breaknet writes; name another$"):
        run.to_csv(tmp_path / "other.csv")


def test_runs_without_validation_with_every_and_without_epochs(tmp_path):
    [thin] = breaknet.train_many([Job(PAIR, epochs=6, every=3)], **WHERE)
    assert thin.epoch_numbers.tolist() == thin.to_dict()["epoch"] == [2, 5]
    thin.to_csv(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1].startswith("2,")
    assert (tmp_path / "a.csv").read_text().splitlines()[1].endswith(",")
    with pytest.warns(RuntimeWarning, match="diverged"):
        empty = breaknet.train(PAIR, epochs=2, learning_rate=1e38, **WHERE)
    with pytest.raises(ValueError, match="model: none was kept, since the run diverged"):
        empty.predict(IMAGES)
    empty.to_csv(tmp_path / "b.csv")
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 1
    for one in (thin, empty):
        one.to_dict()
        assert one.plot()._repr_png_().startswith(b"\x89PNG")
        assert_html(one._repr_html_())
    assert "diverged at epoch 0" in empty._repr_html_()


def test_plots_name_their_runs(run):
    figure = breaknet.plot({"clean": run, "_half $x$": run})
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        "clean, training",
        "clean, validation",
        " _half $x$, training",
        " _half $x$, validation",
    ]
    cost, accuracy = figure.axes
    np.testing.assert_array_equal(cost.lines[1].get_ydata(), run.valid_cost)
    np.testing.assert_array_equal(accuracy.lines[2].get_ydata(), 100 * run.train_accuracy)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert len(run.plot().axes[0].lines) == 2
    with pytest.raises(ValueError, match="runs: at least one, not 0"):
        breaknet.plot({})


class Closed(HTMLParser):
    """Whether every element is closed, and what the text is."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        if tag not in ("img", "path", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def assert_html(page: str) -> str:
    parser = Closed()
    parser.feed(page)
    assert parser.open == []
    assert "nan" not in page
    return parser.text


HOSTILE = "<script>alert('&')</script>"


def test_reprs_are_short_and_pages_are_escaped(run):
    digits = tiny_digits()
    bad = Split(digits.train.images, digits.train.labels, HOSTILE)
    shown = {
        "Split(600 images, broken by": bad,
        "Digits(": Digits(bad, digits.valid, digits.test, HOSTILE),
        "Run(4 epochs": run,
        "Checkpoints(4 of 784-16-16-10)": Checkpoints(run.checkpoints.stacked, {"breakage": HOSTILE, HOSTILE: "x"}),
        "Evaluation(4 models, the last: cost": breaknet.evaluate(run, PAIR, confusion=True, **WHERE),
        "Evaluation(1 model: cost": breaknet.evaluate(run.model, PAIR, **WHERE),
    }  # fmt: skip
    assert repr(breaknet.train(PAIR, epochs=1, **WHERE)).startswith("Run(1 epoch, train cost")
    run.checkpoints.metadata["breakage"] = HOSTILE
    for start, thing in shown.items():
        assert repr(thing).startswith(start)
        assert len(repr(thing)) < 200
        page = thing._repr_html_()
        assert "<script" not in page
        assert len(page) < 60_000
        text = assert_html(page)
        if not isinstance(thing, Evaluation):
            assert HOSTILE in text
    assert shown["Split(600 images, broken by"]._repr_html_().count("data:image/png;base64,") == 12
    page = run._repr_html_()
    assert page.count("<svg") == 2
    assert page.count("<polyline") == 4
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', page))
    assert colours == {"currentColor", "none", "#e8590c", "#228be6"}


def test_a_stuck_run_says_so_wherever_it_is_shown():
    with pytest.warns(RuntimeWarning, match="learned nothing"):
        stuck = breaknet.train(PAIR, epochs=3, batch_size=20, learning_rate=100.0, **WHERE)
    assert f"learned nothing from epoch {stuck.stuck_at} on" in stuck._repr_html_()
    assert f"(stuck from epoch {stuck.stuck_at} on), training" in [
        line.get_label() for line in stuck.plot().axes[0].lines
    ]
    assert_html(stuck._repr_html_())


def test_reprs_need_no_matplotlib():
    code = """if True:
        import sys, numpy as np, breaknet
        pair = np.zeros((20, 784), np.uint8), [1] * 20
        run = breaknet.train(*pair, epochs=1, backend="torch", device="cpu")
        run._repr_html_(), breaknet.shuffle_labels(pair)._repr_html_(), run.predict(pair[0])
        assert "matplotlib" not in sys.modules
    """
    run_python("-c", code)
