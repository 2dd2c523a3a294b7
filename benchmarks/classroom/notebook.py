# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The lesson as a classroom notebook
#
# Written after a description of the original lesson, in its order and with its names: plain PyTorch, a DataLoader,
# an accuracy counted row by row. It is run as it stands, and once more with its classes and functions taken out and
# imported from `breaknet.notebook` instead: tests compare the two, benchmarks time them.

# %%
import gzip
import pickle
import random
from copy import deepcopy

import numpy as np
import torch
from matplotlib import pyplot as plt
from scipy.optimize import curve_fit
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

# %% tags=["parameters"]
data_file = "mnist.pkl.gz"
epochs_all = 100  # of the runs on all training images
epochs_few = 1000  # of the run on 100 of them
learning_rate = 0.05

# %%
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
print("GPU found:", torch.cuda.is_available(), "- running on", device)

# %% [markdown]
# ## Data

# %%
with gzip.open(data_file, "rb") as file:
    (image_train, label_train), (image_valid, label_valid), _ = pickle.load(file, encoding="latin1")
print(image_train.shape, image_train.dtype, label_train.shape, label_train.dtype, image_valid.shape)

# %%
fig, axes = plt.subplots(1, 6, figsize=(9, 2))
for ax, image, label in zip(axes, image_train, label_train, strict=False):
    ax.imshow(image.reshape(28, 28), cmap="gray")
    ax.set_title(label)
    ax.axis("off")
plt.show()

# %% [markdown]
# ## The network


# %%
def activation_func(x):
    return torch.sigmoid(x)


# %%
def cost_func(input, target):
    return nn.MSELoss(reduction="sum")(input, target.float())


# %%
def get_target(digits):
    return nn.functional.one_hot(torch.as_tensor(digits, dtype=torch.int64), 10).to(device)


# %%
class NN_Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden1 = nn.Linear(784, 16)
        self.hidden2 = nn.Linear(16, 16)
        self.output = nn.Linear(16, 10)

    def forward(self, x):
        x = activation_func(self.hidden1(x))
        x = activation_func(self.hidden2(x))
        return activation_func(self.output(x))


# %% [markdown]
# ## Training


# %%
def train_model(
    epochs,
    batch_size,
    learning_rate,
    data_train,
    label_train,
    model,
    data_valid=None,
    label_valid=None,
):
    images = torch.as_tensor(data_train).to(device)
    target = get_target(label_train)
    loader = DataLoader(TensorDataset(images, target), batch_size=batch_size, shuffle=False)
    if data_valid is not None:
        images_valid = torch.as_tensor(data_valid).to(device)
        target_valid = get_target(label_valid)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    cost_valid, cost_train, models = [], [], []
    for epoch in range(epochs):
        model.train()
        for batch, batch_target in loader:
            optimizer.zero_grad()
            cost = cost_func(model(batch), batch_target)
            cost.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            cost_train.append(cost_func(model(images), target).item() / len(images))
            if data_valid is not None:
                cost_valid.append(cost_func(model(images_valid), target_valid).item() / len(images_valid))
        models.append(deepcopy(model))
        print(f"epoch {epoch}: training cost {cost_train[-1]:.6f}")
    return cost_valid, cost_train, models


# %%
def get_digit(pred):
    return torch.argmax(pred).item()


def accuracy(pred, xy):
    right = 0
    for row, target in zip(pred, xy, strict=True):
        if get_digit(row) == get_digit(target):
            right += 1
    return right / len(pred)


# %% [markdown]
# ## Good data

# %%
torch.manual_seed(0)
if torch.cuda.is_available():
    torch.cuda.manual_seed(0)
model = NN_Model().to(device)
cost_valid, cost_train, models = train_model(
    epochs_all, 100, learning_rate, image_train, label_train, model, image_valid, label_valid
)

# %%
plt.plot(cost_train, "r", label="training set")
plt.plot(cost_valid, "b", label="validation set")
plt.xlabel("epoch")
plt.ylabel("cost")
plt.grid()
plt.legend()
plt.show()

# %%
first = 20
late = np.arange(first, epochs_all)
line_train, line_valid = None, None
if len(late) > 1:
    line_train = np.polyfit(late, cost_train[first:], 1)
    line_valid = np.polyfit(late, cost_valid[first:], 1)
    print(f"slope of the training cost: {line_train[0]:.2e}, of the validation cost: {line_valid[0]:.2e}")
    plt.plot(cost_train, "r", label="training set")
    plt.plot(cost_valid, "b", label="validation set")
    plt.plot(late, np.polyval(line_train, late), "k--", label="line, training set")
    plt.plot(late, np.polyval(line_valid, late), "k:", label="line, validation set")
    plt.grid()
    plt.legend()
    plt.show()

# %% [markdown]
# ## Shuffled labels

# %%
random.seed(0)
label_bad = list(label_train)
random.shuffle(label_bad)
label_bad = np.array(label_bad)

# %%
torch.manual_seed(0)
if torch.cuda.is_available():
    torch.cuda.manual_seed(0)
model_bad = NN_Model().to(device)
cost_valid_bad, cost_train_bad, models_bad = train_model(
    epochs_all, 100, learning_rate, image_train, label_bad, model_bad, image_valid, label_valid
)

# %%
plt.plot(cost_train_bad, "r", label="training set")
plt.plot(cost_valid_bad, "b", label="validation set")
plt.grid()
plt.legend()
plt.show()

# %%
tensor_train = torch.as_tensor(image_train).to(device)
tensor_valid = torch.as_tensor(image_valid).to(device)
accuracy_train_bad, accuracy_valid_bad = [], []
for epoch in range(len(models_bad)):
    with torch.no_grad():
        pred_train, pred_valid = models_bad[epoch](tensor_train), models_bad[epoch](tensor_valid)
    accuracy_train_bad.append(accuracy(pred_train, get_target(label_bad)))
    accuracy_valid_bad.append(accuracy(pred_valid, get_target(label_valid)))
    if epoch % 10 == 0:
        print("accuracy after epoch", epoch, "on the training set:", accuracy_train_bad[-1])


# %%
def logistic(x, a, b, c, d):
    return a / (1 + np.exp(-b * (x - c))) + d


# %%
def fit_logistic(accuracies, start):
    try:
        found, _ = curve_fit(logistic, np.arange(len(accuracies)), accuracies, p0=start)
    except (RuntimeError, TypeError):  # no fit to this curve, or too few epochs for one
        return None
    print(f"carrying capacity: {100 * (found[0] + found[3]):.1f} %")
    return found


# %%
fit_bad = fit_logistic(accuracy_train_bad, (0.03, 1, 45, 0.12))
plt.plot(accuracy_train_bad, "r", label="training set")
plt.plot(accuracy_valid_bad, "b", label="validation set")
if fit_bad is not None:
    plt.plot(logistic(np.arange(epochs_all), *fit_bad), "k--", label="logistic fit")
plt.grid()
plt.legend()
plt.show()

# %% [markdown]
# ## A hundred examples

# %%
torch.manual_seed(0)
if torch.cuda.is_available():
    torch.cuda.manual_seed(0)
model_few = NN_Model().to(device)
cost_valid_few, cost_train_few, models_few = train_model(
    epochs_few, 100, learning_rate, image_train[:100], label_bad[:100], model_few, image_valid, label_valid
)

# %%
plt.plot(cost_train_few, "r", label="training set")
plt.plot(cost_valid_few, "b", label="validation set")
plt.grid()
plt.legend()
plt.show()

# %%
accuracy_train_few, accuracy_valid_few = [], []
for epoch in range(len(models_few)):
    with torch.no_grad():
        pred_train, pred_valid = models_few[epoch](tensor_train[:100]), models_few[epoch](tensor_valid)
    accuracy_train_few.append(accuracy(pred_train, get_target(label_bad[:100])))
    accuracy_valid_few.append(accuracy(pred_valid, get_target(label_valid)))
    if epoch % 10 == 0:
        print("accuracy after epoch", epoch, "on the training set:", accuracy_train_few[-1])

# %%
fit_few = fit_logistic(accuracy_train_few, (0.9, 1, 40, 0.12))
plt.plot(accuracy_valid_few, "b", label="validation set")
plt.grid()
plt.legend()
plt.show()
plt.plot(accuracy_train_few, "r", label="training set")
if fit_few is not None:
    plt.plot(logistic(np.arange(epochs_few), *fit_few), "k--", label="logistic fit")
plt.grid()
plt.legend()
plt.show()
