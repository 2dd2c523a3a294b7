"""The label noise that a network bears, and whether more examples help: a sweep with a map; needs pyarrow.

python examples/map_noise.py [EPOCHS]
"""

import sys

import breaknet

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
digits = breaknet.load_mnist()
grid = {
    "break": ["", "shuffle_labels(0.4)", "shuffle_labels(0.8)"],
    "examples": [len(digits.train) // 50, len(digits.train) // 5, len(digits.train)],
    "steps": epochs * -(-len(digits.train) // 100),
    "seed": [0, 1, 2],
    "points": 4,
}
result = breaknet.sweep(grid, data=digits, out="noise-map", progress=True)

print("examples   noise                  validation accuracy: mean and spread over seeds")
table = result.results
for cell in table.cells():
    mean, spread = table.mean_and_spread(cell, "valid_accuracy")
    noise, examples = cell.place
    print(f"{examples:8,}   {noise or 'none':20} {mean:8.1%} {spread:6.1%}")
