"""Use the fused kernels in a network of your own: any widths, any optimizer, torch's autograd.

python examples/own_network.py [EPOCHS]
"""

import sys

import torch

import breaknet
from breaknet.kernels.linear_sigmoid import LinearSigmoid
from breaknet.kernels.summed_mse import summed_mse

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
device = "cuda" if torch.cuda.is_available() else "cpu"  # Triton kernels on a GPU, plain torch elsewhere
digits = breaknet.load_mnist()
images = torch.from_numpy(digits.train.images).to(device).float() / 256
labels = torch.from_numpy(digits.train.labels).to(device).long()

torch.manual_seed(0)
network = torch.nn.Sequential(LinearSigmoid(784, 64), LinearSigmoid(64, 32), LinearSigmoid(32, 10)).to(device)
optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
costs = []
for epoch in range(epochs):
    total = 0.0
    for some_images, some_labels in zip(images.split(100), labels.split(100), strict=True):
        optimizer.zero_grad()
        cost = summed_mse(network(some_images), some_labels)
        cost.backward()
        optimizer.step()
        total += cost.item()
    costs.append(total / len(images))
    print(f"epoch {epoch}: cost {costs[-1]:.4f} per image")
