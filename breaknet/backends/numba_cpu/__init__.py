"""The CPU backend's compiled parts: vectors, compressed images, layers, training and evaluation."""
