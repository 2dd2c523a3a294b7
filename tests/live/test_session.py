"""A page's session without a browser: its runs are `breaknet.train`'s, one at a time, cancelled, kept and bounded."""

import base64
import threading

import numpy as np
import pytest
from made_up_page import Page
from tiny import tiny_digits

import breaknet
from breaknet.backends import select
from breaknet.live import session as sessions
from breaknet.live import training
from breaknet.live.pictures import DRAWN_SIDE
from breaknet.live.settings import Settings

LONG = "epochs=2000&examples=400"


@pytest.mark.parametrize(
    "link",
    [
        "epochs=7&hidden1=5&hidden2=4&seed=3&batch_size=30&learning_rate=0.1",
        "break=flip_labels(0.5)%2Bboth:pixel_noise(0.2)%2Bshift(1,2)&epochs=3&seed=2&examples=150",
    ],
)
def test_what_is_shown_is_what_the_python_lines_make(link, monkeypatch, capsys):
    digits = tiny_digits()
    shown = Page(digits).show(link)
    monkeypatch.setattr(breaknet, "load_mnist", lambda *_: digits)
    names: dict = {}
    exec(shown["python"], names)
    run = names["run"]
    for name, curve in shown["curves"].items():
        np.testing.assert_allclose(curve, getattr(run, name), atol=5.1e-7)
    settings = Settings.from_link(shown["link"])
    valid = breaknet.break_data(digits.valid, settings.breakage, settings.seed, "valid")
    expected = breaknet.evaluate(run.checkpoints[-1], valid, confusion=True, backend="torch")
    assert shown["confusion"] == expected.confusion[0].tolist()
    assert shown["counts"] == [min(settings.examples, len(digits.train)), len(valid)]
    assert float(capsys.readouterr().out) == run.valid_accuracy[-1]


def test_pieces_give_the_bits_of_one_run(monkeypatch):
    """However a run is cut, on the backend that "auto" picks."""
    digits = tiny_digits()
    monkeypatch.setattr(training, "FIRST_PIECE", 0)
    settings = Settings("flip_labels(0.2)", examples=300, epochs=9)
    whole = breaknet.train(digits.train[:300], valid=digits.valid, epochs=9)
    lengths = []
    for progress in training.train_in_pieces(
        settings, digits.train[:300], digits.valid, lambda: False, threading.Lock()
    ):
        lengths.append(progress.done)
    assert len(lengths) > 1
    assert progress.curves["valid_cost"] == whole.valid_cost.tolist()
    assert progress.curves["train_accuracy"] == whole.train_accuracy.tolist()
    for mine, theirs in zip(progress.model.parameters(), whole.checkpoints[-1].parameters(), strict=True):
        assert np.array_equal(mine.detach().numpy(), theirs.detach().numpy())


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_the_first_piece_is_short_on_the_torch_backend_however_it_was_chosen(backend, monkeypatch):
    monkeypatch.setattr(training, "FIRST_PIECE", 10.0)
    digits, settings = tiny_digits(), Settings(examples=300, epochs=10)
    some = settings, digits.train[:300], digits.valid, lambda: False, threading.Lock()
    assert next(training.train_in_pieces(*some, "numba")).done == 10
    only = select.choices("torch", "cpu")
    monkeypatch.setattr(select, "choices", lambda *_: only)
    monkeypatch.setattr(training, "FIRST_STEPS", 7)  # of which an epoch takes 3
    assert next(training.train_in_pieces(*some, backend)).done == 2


@pytest.mark.filterwarnings("ignore:.*learned nothing")
def test_a_run_in_pieces_is_stuck_where_the_whole_one_is(monkeypatch):
    digits = tiny_digits()
    monkeypatch.setattr(training, "FIRST_PIECE", 0)
    settings = Settings(examples=300, epochs=9, learning_rate=30.0)
    whole = breaknet.train(digits.train[:300], valid=digits.valid, epochs=9, learning_rate=30.0)
    *_, progress = training.train_in_pieces(
        settings, digits.train[:300], digits.valid, lambda: False, threading.Lock()
    )
    assert whole.stuck_at is not None
    assert progress.stuck_at == whole.stuck_at
    assert Page(digits).show("examples=300&epochs=9&learning_rate=30")["stuck_at"] == whole.stuck_at


def test_curves_grow_while_a_long_run_trains(monkeypatch):
    monkeypatch.setattr(training, "PIECE", 0.0)
    monkeypatch.setattr(training, "FIRST_PIECE", 0.0)
    page = Page()
    page.show("epochs=6&examples=50")
    done = [value[0]["done"] for name, value in page.seen if name == "runs" and value]
    assert done == sorted(done), "what was read first was sent last"
    assert sorted(set(done)) == [1, 2, 3, 4, 5, 6]  # one of them twice, if `want` sends it too


def test_ten_impatient_drags_leave_one_running_and_nothing_queued(monkeypatch):
    running, most, begun = [], [], []
    original = sessions.train_in_pieces

    def watched(settings, *arguments, **options):
        running.append(settings)
        most.append(len(running))
        begun.append(settings)
        try:
            yield from original(settings, *arguments, **options)
        finally:
            running.remove(settings)

    monkeypatch.setattr(sessions, "train_in_pieces", watched)
    page = Page()
    page.session.want({"link": LONG})
    page.wait(lambda page: page.newest.get("runs"))
    for examples in range(100, 110):
        page.session.want({"link": f"epochs=2000&examples={examples}"})
    page.wait(
        lambda page: page.newest["runs"] and page.newest["runs"][0]["link"] == "examples=109&epochs=2000"
    )
    assert [settings.examples for settings in running] == [109]
    assert max(most) == 1
    assert begun[-1].examples == 109
    page.session.close(timeout=20)
    assert not running


def test_closing_ends_a_long_run_at_an_epochs_end():
    page = Page()
    page.session.want({"link": LONG})
    page.wait(lambda page: page.newest.get("runs"))
    worker = page.session._worker
    page.session.close(timeout=20)
    assert not worker.is_alive()
    assert page.newest["runs"][0]["done"] < 2000
    seen = len(page.seen)
    page.session.want({"link": ""})  # after the end: nothing happens
    assert len(page.seen) == seen


def test_a_call_is_cancelled_from_python():
    """As docs/play.md says: a progress that raises ends training at an epoch's end, with what it raised."""
    epochs = []

    def stop(epoch: int, epochs_in_all: int, train_cost: float) -> None:
        epochs.append(epoch)
        if epoch == 2:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        breaknet.train(tiny_digits().train, epochs=10_000, backend="torch", progress=stop)
    assert epochs == [0, 1, 2]


def test_two_settings_can_be_pinned_beside_the_current_one():
    page = Page()
    first = page.show("examples=500&epochs=2")
    again = page.show("examples=500&epochs=3", pins=["examples=500&epochs=2", "examples=500&epochs=4"])
    assert [run["link"] for run in page.newest["runs"]] == [
        "examples=500&epochs=3",
        "examples=500&epochs=2",
        "examples=500&epochs=4",
    ]
    assert page.newest["runs"][1] == first  # kept, not trained again
    assert (
        page.show("examples=500&epochs=2", pins=["examples=500&epochs=3", "examples=500&epochs=4"]) == first
    )
    assert page.newest["runs"][1] == again
    page.session.want(
        {"link": "", "pins": ["examples=500&epochs=1", "examples=500&epochs=2", "examples=500&epochs=3"]}
    )
    assert "pins: a list of at most 2" in page.newest["status"]["text"]


def drawing(filled: bool = True) -> str:
    grey = np.zeros((DRAWN_SIDE, DRAWN_SIDE), np.uint8)
    if filled:
        grey[10:40, 20:26] = 255
    return base64.b64encode(grey.tobytes()).decode()


def test_a_drawing_is_given_to_every_shown_network():
    digits = tiny_digits()
    page = Page(digits)
    page.show("examples=500&epochs=2", pins=["examples=500&epochs=3"], drawing=drawing())
    page.wait(lambda page: page.newest["drawn"] and len(page.newest["drawn"]["links"]) == 2)
    drawn = page.newest["drawn"]
    assert drawn["links"] == ["examples=500&epochs=2", "examples=500&epochs=3"]
    digit = np.frombuffer(base64.b64decode(drawn["image"]), np.uint8)
    for epochs, outputs in zip((2, 3), drawn["outputs"], strict=True):
        model = breaknet.train(digits.train[:500], epochs=epochs, backend="torch").checkpoints[-1]
        expected = model(model.hidden1.weight.new_tensor(digit / 256).reshape(1, -1))
        np.testing.assert_allclose(outputs, expected.detach().numpy()[0], atol=6e-5)
    page.session.want({"link": "examples=500&epochs=2", "drawing": drawing(False)})
    page.wait(lambda page: page.newest["drawn"] is None)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ([], "wanted: link, pins and drawing by name"),
        ({"links": ""}, "wanted: link, pins and drawing, not 'links'"),
        ({"link": 3}, "link: text such as"),
        ({"link": "epochs=-1"}, "epochs: 1 to 2,000"),
        ({"pins": ["epochs=99999"]}, "epochs: 1 to 2,000"),
        ({"pins": "epochs=1"}, "pins: a list"),
        ({"drawing": "AAAA"}, "drawing: 56 x 56 bytes, not 3"),
        ({"drawing": "§"}, "drawing: base64 text"),
        ({"drawing": 5}, "drawing: base64 text"),
    ],
)
def test_a_wrong_message_is_answered_and_changes_nothing(message, said):
    page = Page()
    page.show("epochs=1")
    before = page.newest["runs"]
    page.session.want(message)
    assert page.newest["status"]["phase"] == "error"
    assert said in page.newest["status"]["text"]
    assert page.newest["runs"] is before


def test_data_that_a_recipe_cannot_break_are_an_error_and_the_next_run_goes_on():
    page = Page()
    page.session.want({"link": "break=mislabel_class(4,4)", "pins": ["break=mislabel_class(5,5)"]})
    page.wait(lambda page: "another class than 5" in page.newest.get("status", {}).get("text", ""))
    failures = [value["text"] for name, value in page.seen if name == "status" and value["phase"] == "error"]
    assert len(failures) == 2  # each is tried once
    assert page.show("epochs=1")["done"] == 1


def test_a_run_that_diverges_says_when(monkeypatch):
    original = training.train_many

    def diverging(jobs, **options):
        (run,) = original(jobs, **options)
        return [breaknet.Run(**{**run.__dict__, "diverged_at": len(run.train_cost)})]

    monkeypatch.setattr(training, "train_many", diverging)
    page = Page()
    run = page.show("epochs=300")
    page.wait(lambda page: page.newest["status"]["phase"] == "done")
    assert run["diverged_at"] == run["done"] < 300
    assert f"not finite at the end of epoch {run['done']}" in page.newest["status"]["text"]


def test_a_page_trains_a_bounded_time(monkeypatch):
    monkeypatch.setattr(sessions, "MAX_SECONDS", 0)
    page = Page()
    page.show("epochs=1")
    page.session.want({"link": "epochs=2"})
    page.wait(lambda page: page.newest["status"]["phase"] == "error")
    assert "reload it to go on" in page.newest["status"]["text"]


def test_labels_as_given_and_as_they_are():
    page = Page()
    shown = page.show("break=flip_labels(1)&epochs=1")["examples"]
    assert all(example["label"] != example["true"] for example in shown)
    shown = page.show("break=missing_class(7)&epochs=1")["examples"]
    assert all(example["label"] == example["true"] != 7 for example in shown)
    shown = page.show("break=invert&epochs=1")["examples"]
    assert {example["true"] for example in shown} == {None}


def test_sessions_share_their_slots():
    """With one slot, two pages' pieces never overlap."""

    class Watched:
        def __init__(self):
            self.lock, self.inside, self.most = threading.Lock(), 0, 0

        def __enter__(self):
            self.lock.acquire()
            self.inside += 1
            self.most = max(self.most, self.inside)

        def __exit__(self, *exc):
            self.inside -= 1
            self.lock.release()

    slots = Watched()
    pages = [Page(slots=slots), Page(slots=slots)]
    for number, page in enumerate(pages):
        page.session.want({"link": f"epochs=20&seed={number}"})
    for page in pages:
        page.wait(lambda page: page.newest.get("runs") and page.finished(1))
    assert slots.most == 1
    assert pages[0].newest["runs"][0]["curves"] != pages[1].newest["runs"][0]["curves"]
