"""Other ways to do the lesson's work, for the benchmarks: each as its users would write it.

Every trainer module has `epoch_of(images, labels, start, batch_size, learning_rate)`: it prepares (moves, converts,
compiles), and returns a function that trains one epoch more each time it is called and returns torch's parameters.
images are uint8 [N, 784] (byte / 256), labels int64 [N], both numpy; start is a dict of CPU tensors.
"""
