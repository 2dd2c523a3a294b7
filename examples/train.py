"""Train the lesson's network on true labels, and evaluate it on images that it has not seen.

python examples/train.py [EPOCHS]
"""

import sys

import breaknet

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
digits = breaknet.load_mnist()
run = breaknet.train(digits.train, valid=digits.valid, epochs=epochs, progress=True)
print(f"{run.backend} on {run.device}: {run.seconds['total']:.1f} s for {epochs} epochs on {digits.source}")
print(f"accuracy: training set {run.train_accuracy[-1]:.1%}, validation set {run.valid_accuracy[-1]:.1%}")

best = int(run.valid_cost.argmin())
test = breaknet.evaluate(run.checkpoints[best], digits.test, confusion=True)
print(f"the checkpoint after epoch {best} on the test set: {test.accuracy[0]:.1%}")
print(test.confusion[0])  # rows: true digits; columns: what the network took them for
