# %% [markdown]
# # Breaking a neural network
#
# What does bad data do to a neural network? You will train one small network on handwritten digits three times, from
# the same start and by the same rule: with true labels, with shuffled labels, and with only 100 of the shuffled
# examples. Only the examples change. Before each run you predict the outcome, in numbers. A cell that shows an outcome
# asks for your prediction first, and draws it beside the outcome. A wrong prediction teaches more than no prediction.
#
# Run the cells from top to bottom with Shift+Enter. Each run takes seconds, so you can start again at any time.

# %% [markdown] tags=["instructor"]
# > **This is the instructor's version.** Paragraphs with a bar on the left and the cells headed *Answers* are missing
# > from the students' notebook. Answers are written from the run above them, so run the notebook before the lesson.
# > Correct runs on other machines differ a little; where an answer depends on that, it gives a range.
# >
# > A lesson of 90 minutes leaves about 15 minutes for the network, 20 for each experiment, and 15 for the end: time
# > for predictions and for talking about them. Have everybody write down a number before a training cell is run.

# %% [markdown]
# ## Set-up
#
# On Colab, the next cell installs breaknet (0.2 MiB): from the address in the cell, from a wheel that you have
# uploaded with the folder button on the left, or from a clone. Anywhere else, install breaknet first: the cell then
# does nothing. The digits (10.7 MiB) are fetched once. Two CPU cores are enough.

# %% tags=["set-up"]
# scripts/build_notebooks.py writes this cell from scripts/notebook_set_up.py

# %%
import breaknet
from breaknet.lesson import figures, many_runs
from breaknet.lesson import notebook_display as show
from breaknet.lesson.notebook_predictions import Predictions

# %% [markdown]
# Leave these settings as they are the first time. Later, change the seed and run all again: what was only luck?

# %% tags=["parameters"]
seed = 0  # draws the network's starting parameters, and shuffles the labels
epochs_all = 100  # passes over the data in the runs on all training images
epochs_few = 1000  # and in the run on 100 of them
data = None  # None: fetch MNIST; or a folder or file that you have; or "synthetic": digits drawn from fonts

# %% tags=["student"]
mine = Predictions()  # keeps your predictions, and adds them up at the end

# %% tags=["instructor"]
mine = Predictions(skip=True)  # shows every outcome, with or without a prediction

# %% [markdown]
# ## Data
#
# An example is an image and a label. The images are 28 × 28 grey pixels, the labels say which digit each one shows.
# There are three sets: the **training set**, from which the network learns; the **validation set**, with which we
# evaluate it and from which it never learns; and a test set, which this lesson does not use.

# %%
digits = breaknet.load_mnist(data)
print(f"{digits.source}: {len(digits.train):,} images to train on, {len(digits.valid):,} to validate")
show.digits_with_labels(digits.train)

# %% [markdown]
# To the network an image is a row of 784 numbers, each from 0 (paper) to almost 1 (ink), and nothing else.
#
# ## Building the network
#
# The network has an input for each pixel, two hidden layers of 16 units each, and ten outputs, one for each digit.
# The largest output is its answer.

# %%
show.network()

# %% [markdown]
# Every unit multiplies each value $x_i$ that it receives by a weight $w_i$, and adds the products and a bias $b$. A
# sigmoid maps this sum to a number between 0 and 1:
#
# $$y = \sigma\Big(\sum_i w_i x_i + b\Big), \qquad \sigma(z) = \frac{1}{1 + e^{-z}}$$
#
# In PyTorch, the whole network is
#
# ```python
# class MLP(nn.Module):
#     def __init__(self):
#         super().__init__()
#         self.hidden1 = nn.Linear(784, 16)
#         self.hidden2 = nn.Linear(16, 16)
#         self.output = nn.Linear(16, 10)
#
#     def forward(self, images):
#         x = torch.sigmoid(self.hidden1(images))
#         x = torch.sigmoid(self.hidden2(x))
#         return torch.sigmoid(self.output(x))
# ```
#
# The weights and biases are its **parameters**. Nothing else in it can change, so whatever it learns has to be stored
# in them.
#
# * How many parameters are there? Work it out from the drawing before you run the next cell.

# %% tags=["prediction"]
my_parameters = None  # a number instead of None

# %%
model = breaknet.MLP.seeded(seed)
mine.parameters(model, my_parameters)

# %% [markdown] tags=["instructor"]
# > **Answer.** (784 + 1) · 16 + (16 + 1) · 16 + (16 + 1) · 10 = 12,560 + 272 + 170 = 13,002. The usual slip is to
# > forget the biases, which gives 12,960. Nearly all parameters sit in the first layer. Come back to this number in
# > the last experiment: 13,002 is a quarter of 50,000, but 130 times 100.

# %% [markdown]
# The parameters start as random numbers. These are the network's ten outputs for the first training image before it
# has learned anything. The red bar ought to be 1, all others 0.

# %%
show.answer(model, digits.train, 0)

# %% [markdown]
# ## Training
#
# The **cost** says how wrong the network is. For each image it adds up the squares of ten differences: output $y_k$
# minus target $t_k$, where the target is 1 for the digit on the label and 0 for the other nine:
#
# $$C = \sum_{k=0}^{9} (y_k - t_k)^2$$
#
# A perfect answer costs 0. The constant answer, 1/10 on every output, costs $0.9^2 + 9 \cdot 0.1^2 = 0.90$.
#
# Training takes 100 images at a time, a **batch**. For every parameter $p$ it computes the derivative of the sum of
# their costs, and changes $p$ by a small step in the opposite direction:
#
# $$p \leftarrow p - 0.05 \, \frac{\partial \sum C}{\partial p}$$
#
# One pass over all training images is an **epoch**; epochs are counted from 0. After each epoch we note the cost on
# the training set and on the validation set, per image, and keep a copy of the parameters, a **checkpoint**.
#
# ### Before you train
#
# <!-- lesson: clean before -->
#
# Now in numbers:

# %% tags=["prediction"]
my_train_cost = None  # cost per image on the training set at the end
my_valid_cost = None  # the same on the validation set
my_best_epoch = None  # the epoch after which the validation cost is lowest

# %%
clean = breaknet.train(digits.train, valid=digits.valid, epochs=epochs_all, seed=seed)
print(f"{len(clean.train_cost)} epochs in {clean.seconds['total']:.1f} s, {clean.backend} on {clean.device}")
print("Here is the first training image once more, as the network sees it now:")
show.answer(clean.checkpoints[-1], digits.train, 0)

# %% [markdown]
# ## When is a model done learning?

# %%
results = show.sum_up(digits, clean=clean)
mine.figure(figures.clean_cost(results), results, "clean", train_cost=my_train_cost, valid_cost=my_valid_cost)

# %%
mine.outcomes(results, "clean", train_cost=my_train_cost, valid_cost=my_valid_cost, best_epoch=my_best_epoch)

# %% [markdown]
# ### Questions
#
# <!-- lesson: clean after 1-2 -->

# %% [markdown]
# To see what the curves do in the long run, look at them close up, with a straight line fitted to each from epoch 20
# on. Before you run the cell: which way will each line slope?

# %%
figures.clean_cost_fits(results)

# %% [markdown]
# <!-- lesson: clean after 3-3 -->

# %% tags=["instructor"]
show.noticed(results, "clean")

# %% [markdown] tags=["instructor"]
# > With seed 0 on MNIST, correct runs end between 0.04 and 0.05 on the training set and between 0.08 and 0.1 on the
# > validation set. The training line falls by 0.0002 to 0.0004 an epoch. The slope of the validation line may come out
# > with either sign, so do not promise the class a rise. The validation cost is lowest somewhere after epoch 20, on a
# > stretch so flat that the exact epoch means little. The model has learned what it can use when the validation cost
# > stops falling. Only a set that training never uses shows this.

# %% [markdown]
# ## Training with shuffled labels
#
# <!-- lesson: shuffled setup -->

# %%
bad = breaknet.shuffle_labels(digits.train, seed=seed)
figures.sample_digits(digits.train.images[:20], digits.train.labels[:20], bad.labels[:20])

# %% [markdown]
# ### Before you train
#
# <!-- lesson: shuffled before 1-1 -->

# %% tags=["prediction"]
my_shuffled_train_cost = None  # the constant answer 1/10 costs 0.90
my_shuffled_valid_cost = None

# %%
shuffled = breaknet.train(bad, valid=digits.valid, epochs=epochs_all, seed=seed)
results = show.sum_up(digits, clean=clean, shuffled=shuffled)
print(f"{len(shuffled.train_cost)} epochs in {shuffled.seconds['total']:.1f} s")

# %%
my_costs = {"train_cost": my_shuffled_train_cost, "valid_cost": my_shuffled_valid_cost}
mine.figure(figures.shuffled_cost(results), results, "shuffled", **my_costs)

# %%
mine.outcomes(results, "shuffled", **my_costs)

# %% [markdown]
# Mind the axis: where both curves lie close together far from 0, it does not begin at 0.
#
# ### Questions
#
# <!-- lesson: shuffled after 1-1 -->

# %% [markdown]
# ## Accuracy
#
# A cost near 0.90 is hard to picture. The **accuracy** is easier: the share of images whose largest output is that of
# the label. Training images are compared with the shuffled labels, validation images with the true ones.
#
# ### Before you look
#
# <!-- lesson: shuffled before 2-3 -->
#
# In numbers, for the end of the run:

# %% tags=["prediction"]
my_shuffled_train_accuracy = None  # in percent
my_shuffled_valid_accuracy = None  # in percent

# %% [markdown]
# A logistic curve describes growth that slows down as it nears a limit. It is fitted to the training accuracy:
#
# $$\text{accuracy}(\text{epoch}) = \frac{a}{1 + e^{-b\,(\text{epoch} - c)}} + d$$
#
# It starts near $d$ and levels off at $a + d$, its **carrying capacity**.

# %%
my_accuracies = {"train_accuracy": my_shuffled_train_accuracy, "valid_accuracy": my_shuffled_valid_accuracy}
mine.figure(figures.shuffled_accuracy(results), results, "shuffled", **my_accuracies)

# %%
mine.outcomes(results, "shuffled", **my_accuracies)

# %% [markdown]
# ### Questions
#
# <!-- lesson: shuffled after 2-4 -->

# %% tags=["instructor"]
show.noticed(results, "shuffled")

# %% [markdown] tags=["instructor"]
# > With seed 0 on MNIST, the carrying capacity comes out at about 14 to 15 %. Whoever predicted 10 % for both
# > accuracies predicted a network that learns nothing, and reasoned well. There is nothing to understand in these
# > labels, so every point above guessing has been memorised. Leave the last question open for the next experiment.

# %% [markdown]
# ## A hundred examples
#
# <!-- lesson: hundred setup -->
#
# ### Before you train
#
# <!-- lesson: hundred before -->

# %% tags=["prediction"]
my_best_train_accuracy = None  # the highest training accuracy of the run, in percent
my_valid_accuracy_then = None  # the validation accuracy at that moment, in percent

# %%
hundred = breaknet.train(bad[:100], valid=digits.valid, epochs=epochs_few, seed=seed)
results = show.sum_up(digits, clean=clean, shuffled=shuffled, hundred=hundred)
print(f"{len(hundred.train_cost)} epochs in {hundred.seconds['total']:.1f} s")

# %%
figures.hundred_cost(results)

# %%
mine.figure(
    figures.hundred_valid_accuracy(results), results, "hundred", valid_accuracy_then=my_valid_accuracy_then
)

# %%
mine.figure(
    figures.hundred_train_accuracy(results), results, "hundred", best_train_accuracy=my_best_train_accuracy
)

# %%
mine.outcomes(
    results, "hundred", best_train_accuracy=my_best_train_accuracy, valid_accuracy_then=my_valid_accuracy_then
)

# %% [markdown]
# ### Questions
#
# <!-- lesson: hundred after -->

# %% tags=["instructor"]
show.noticed(results, "hundred")

# %% [markdown] tags=["instructor"]
# > With seed 0 on MNIST, the training accuracy reaches about 99 %, the capacity of the fit lies between 97 and 101 %,
# > and the validation accuracy ends between 8 and 13 %. A late rise of the validation accuracy is seen in some runs
# > and not in others, so the last answer above is about this run alone. Either way it stays near the 10 % of
# > guessing: a network that knows 100 labels by heart answers any other image at random, as far as the digit goes.

# %% [markdown]
# ## Some labels shuffled
#
# <!-- lesson: label_noise setup -->
#
# ### Before you train
#
# <!-- lesson: label_noise before -->
#
# Write a validation accuracy in percent for each share of shuffled labels: 0, 25, 50, 75, 90 and 100 %.

# %% tags=["prediction"]
my_noise_accuracies = None  # six numbers in brackets, such as [90, 80, 60, 40, 20, 10]

# %%
results["label_noise"] = many_runs.label_noise(digits, seed=seed)
mine.curve(figures.label_noise, results, "label_noise", my_noise_accuracies)

# %% [markdown]
# ### Questions
#
# <!-- lesson: label_noise after -->

# %% tags=["instructor"]
show.noticed(results, "label_noise")

# %% [markdown]
# ## What went wrong?
#
# Put the three runs side by side. Same network, same start, same rule:

# %%
show.side_by_side(results)

# %% [markdown]
# Before the next cell: what would you call what happened in the third run? Did it also happen in the first?

# %%
show.looking_back(results)

# %% [markdown] tags=["instructor"]
# > Go back to the first figure: the gap that opens between its curves is the same as that between 99 % and guessing in
# > the third run, only smaller. Ask how one would notice over-fitting without a validation set. (One would not.)

# %% [markdown]
# ## Your predictions
#
# All of them, with points: how good were you, and at which experiment were you furthest off?

# %%
mine.summary()

# %% [markdown]
# ## Data, the heart of a model
#
# Nothing but the examples changed today, and they made all the difference. That is no quirk of a small network. The
# *universal approximation theorem* says that a network with enough units can come as close as you like to almost any
# relation between inputs and outputs. It does not say where the relation comes from. That has to be in the examples:
# enough of them, and true ones, because a network takes a wrong label exactly as seriously as a right one. You have
# seen it learn nonsense by heart with the same diligence as digits.
#
# This makes data an economic force. Much of the work in machine learning, and much of the money, goes into
# collecting, cleaning and labelling examples. Whoever holds data that others lack decides who can build which model,
# and archives, publishers and forums that used to be open now sell access to what their users wrote.
#
# ## Homework
#
# Choose a machine-learning system that you meet in your own life: one that sorts, recommends, translates, recognises
# or writes.
#
# 1. What does it do?
# 2. What could its cost function be: which number was made small when it was trained?
# 3. What data would train it? Describe one example, its inputs and its outputs, and say who has many of them.
#
# How much a network can memorise, what it sees, and other ways to break data: notebook `breaking_it_further`.

# %% [markdown] tags=["instructor"]
# > **What to look for.** A cost function that can be computed from an output and a target. Inputs and outputs that
# > would really be at hand: for a recommender, what somebody looked at before, and what they chose next; for a
# > translator, sentences and their translations. Good answers also notice where the labels come from, and in whose
# > interest they are wrong.
