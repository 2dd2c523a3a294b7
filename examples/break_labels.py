"""Give a growing share of the training images wrong labels, and train a network on each version, side by side.

python examples/break_labels.py [EPOCHS]
"""

import sys

import breaknet

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
fractions = (0.0, 0.25, 0.5, 0.75, 1.0)
digits = breaknet.load_mnist()
jobs = [
    breaknet.Job(breaknet.shuffle_labels(digits.train, fraction), valid=digits.valid, epochs=epochs)
    for fraction in fractions
]
runs = breaknet.train_many(jobs, progress=True)

print("shuffled   training set   validation set (true labels)")
for fraction, run in zip(fractions, runs, strict=True):
    print(f"{fraction:8.0%} {run.train_accuracy[-1]:14.1%} {run.valid_accuracy[-1]:16.1%}")
