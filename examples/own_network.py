"""Use the fused kernels in a network of your own: any widths, any optimizer, torch's autograd.

python examples/own_network.py [EPOCHS]
"""

import sys

import torch

import breaknet
from breaknet.kernels.fused_network import FusedNetwork

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
device = "cuda" if torch.cuda.is_available() else "cpu"  # Triton kernels on a GPU, plain torch elsewhere
digits = breaknet.load_mnist()
images = torch.from_numpy(digits.train.images).to(device).float() / 256
labels = torch.from_numpy(digits.train.labels).to(device).long()

torch.manual_seed(0)
network = FusedNetwork(784, (64, 32), 10).to(device)  # other numbers of layers: LinearSigmoid and summed_mse
optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
costs = []
for epoch in range(epochs):
    total = 0.0
    for some_images, some_labels in zip(images.split(100), labels.split(100), strict=True):
        optimizer.zero_grad()
        cost = network(some_images, some_labels)  # forward and cost in one launch, all gradients in another
        cost.backward()
        optimizer.step()
        total += cost.item()
    costs.append(total / len(images))
    print(f"epoch {epoch}: cost {costs[-1]:.4f} per image")
