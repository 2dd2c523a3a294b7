# %% [markdown]
# # Breaking it further
#
# The lesson *Breaking a neural network* ended with three questions open. How much can a small network learn by heart?
# What does it see in an image? And in what other ways can data be bad? Each part here stands on its own: take
# them in any order, after the cells up to *A network to look at*.

# %% [markdown]
# ## Set-up
#
# As in the lesson: on Colab, the next cell installs breaknet; anywhere else it does nothing.

# %% tags=["set-up"]
# scripts/build_notebooks.py writes this cell from scripts/notebook_set_up.py

# %%
import breaknet
from breaknet.lesson import figures, many_runs
from breaknet.lesson import notebook_display as show
from breaknet.lesson.notebook_predictions import Predictions

# %% tags=["parameters"]
seed = 0  # draws the network's starting parameters, and what is random in broken data
epochs = 20  # passes over the training images, where a part needs a trained network
steps = 3000  # of gradient descent, for each network of the first part
width_epochs = 500  # passes over the shuffled examples, for each width
memorising_epochs = 1000  # passes over 100 shuffled examples
data = None  # None: fetch MNIST; or a folder or file that you have; or "synthetic": digits drawn from fonts

# %% tags=["student"]
mine = Predictions()  # keeps your predictions, and adds them up at the end

# %% tags=["instructor"]
mine = Predictions(skip=True)  # shows every outcome, with or without a prediction

# %%
digits = breaknet.load_mnist(data)
bad = breaknet.shuffle_labels(digits.train, seed=seed)
print(f"{digits.source}: {len(digits.train):,} images to train on, {len(digits.valid):,} to validate")

# %% [markdown]
# ### A network to look at

# %%
clean = breaknet.train(digits.train, valid=digits.valid, epochs=epochs, seed=seed)
print(f"{clean.valid_accuracy[-1]:.1%} of the validation images are read right")

# %% [markdown]
# ## How much can be memorised?
#
# <!-- lesson: capacity setup -->
#
# ### Before you train
#
# <!-- lesson: capacity before -->
#
# Write the highest training accuracy, in percent, for 100, 300, 1,000, 3,000 and 10,000 shuffled examples.

# %% tags=["prediction"]
my_capacities = None  # five numbers in brackets, such as [100, 80, 60, 40, 20]

# %%
results = show.sum_up(digits)
results["capacity"] = many_runs.capacity(bad, steps=steps, seed=seed)
mine.curve(figures.capacity, results, "capacity", my_capacities)

# %% [markdown]
# Now three networks of growing width learn the same 10,000 shuffled examples. Write down your guess first.

# %%
results["capacity"]["widths"] = many_runs.capacity_by_width(bad, epochs=width_epochs, seed=seed)
figures.capacity_widths(results)

# %% [markdown]
# ### Questions
#
# <!-- lesson: capacity after -->

# %% tags=["instructor"]
show.noticed(results, "capacity")

# %% [markdown]
# ## What does the network see?
#
# Each unit of the first hidden layer has a weight for every pixel. Drawn as an image they show what the unit looks for:
# ink on red raises its output, ink on blue lowers it. Before you look: will you recognise digits in them?

# %%
breaknet.plot_weights(clean, "Weights after training on true labels")

# %% [markdown]
# And what does memorising look like? Here are the weights of a network that has learned 100 shuffled labels by heart.

# %%
hundred = breaknet.train(bad[:100], valid=digits.valid, epochs=memorising_epochs, seed=seed)
breaknet.plot_weights(hundred, "Weights after memorising 100 shuffled labels")

# %% [markdown]
# Which digits does the trained network confuse? Write down two before you look: "a ... is taken for a ...".

# %%
breaknet.plot_confusion(clean, digits.valid)

# %% [markdown]
# These are its surest mistakes: wrong answers with the strongest output. Which of them would you get wrong as well?

# %%
breaknet.plot_mistakes(clean, digits.valid)

# %% [markdown]
# ### A digit of your own
#
# Write a digit on paper with a thick pen, photograph it, and upload the picture with the folder button on the left.
# `breaknet.read_image` makes of it what the network was trained on: ink bright on black, 28 × 28 pixels, centred. Look
# at the picture before you believe the answer. Until you have one, a validation image takes its place.

# %%
my_picture = None  # the name of your file, such as "seven.jpg"

image = digits.valid.images[0] if my_picture is None else breaknet.read_image(my_picture)
breaknet.plot_digit(image, clean)

# %% [markdown] tags=["instructor"]
# > **What to look for.** A unit serves ten outputs at once, so it need not look for one digit. How do the two pictures
# > of weights differ? If a digit of one's own is misread, in what does its picture differ from the training images? Is
# > the network wrong then, or the data?

# %% [markdown]
# ## Break it yourself
#
# There are more ways to break data: of labels (`flip_labels(0.5)`, `mislabel_class(4, 9)`, `mislabel_hardest(0.3)`), of
# the choice of examples (`missing_class(7)`, `imbalance(100)`, `duplicates(100)`), and of images (`invert`, `leak`,
# `permute_pixels`, `occlude(12)`, `rotate(20)`). They can be joined: `"shuffle_labels(1) + leak"`.
#
# Choose one, and write down first: which of the two accuracies will suffer, by how much, and for which digits?

# %%
breakage = "mislabel_class(4, 9)"

broken = breaknet.break_data(digits, breakage, seed=seed)
trial = breaknet.train(broken.train, valid=broken.valid, epochs=epochs, seed=seed)
answers = breaknet.evaluate(trial.checkpoints[-1], digits.valid, confusion=True).confusion[0]
print(f"{breakage}: {trial.train_accuracy[-1]:.1%} in training, {trial.valid_accuracy[-1]:.1%} in validation")
print(
    "right, by true digit:", *(f"{row[digit] / max(row.sum(), 1):.0%}" for digit, row in enumerate(answers))
)

# %% [markdown] tags=["instructor"]
# > **What to look for.** Does the total accuracy show which digit suffers? Compare `flip_labels(0.5)` with a systematic
# > error in as many labels. Compare `permute_pixels` with `invert`: neither loses any information. With `leak`, ask
# > what the training accuracy means. Would anybody have noticed without clean validation data?

# %% [markdown]
# ## Your predictions

# %%
mine.summary()
