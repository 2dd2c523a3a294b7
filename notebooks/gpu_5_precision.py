# %% [markdown]
# # GPU performance 5: precision
#
# Tensor cores multiply much faster than ordinary arithmetic units, but round their operands. Here you measure what
# that does to a training step, and get float32's accuracy back from three products.

# %% tags=["course-set-up"]
# scripts/build_notebooks.py writes this cell from scripts/notebook_set_up.py and scripts/course_set_up.py

# %%
import torch

from notebooks.course import checks_in_python, elsewhere, pictures, plots, precision, specs
from notebooks.course.here import digits, trained
from notebooks.course.specs import shown

# %% [markdown]
# ## 9 Precision
#
# Newer GPUs have *tensor cores*, which multiply blocks many times faster, if their operands are rounded first. The
# format offered for float32 is TF32: float32's range, with 10 of its 23 bits of mantissa. Triton's `tl.dot` uses it
# unless `input_precision` says otherwise. What would it do to a training step?

# %%
pictures.number_formats()

# %% [markdown]
# No tensor core is needed to find out: round both operands of every product to 10 bits, then multiply and add in
# float32. The reference is the same step in float64. The project's contract allows each parameter tensor of a step an
# error of 1e-5 of the update plus 1e-7 of the parameter, and the cost of many images a relative error of 1e-6.

# %%
pixels = torch.from_numpy(digits().train.images[:100]) / 256
labels = torch.from_numpy(digits().train.labels[:100])
start = trained(digits())
changed = int((precision.to_tf32(pixels) != pixels).sum())
print(f"rounding to TF32 changes {changed} of {pixels.numel():,} pixels, and most of the weights")
errors = precision.step_errors(start, pixels, labels)
for product, shares in errors.items():
    worst = max(shares, key=shares.get)
    print(f"{product:22} worst in {worst:15}: {shares[worst]:8.3f} of the allowed error")
plots.precision_bars(errors)

# %%
valid = digits().valid
for product, error in precision.cost_errors(start, valid.images, valid.labels).items():
    print(f"{product:22} cost of {len(valid):,} images: {error / 1e-6:8.3f} of the allowed error")

# %% [markdown]
# Would you see it in the lesson's curves? Hardly. But such a run could not be distinguished from one with a small bug,
# and the project's tests, which compare every kernel with float64, would miss every bug smaller than TF32's error.
# That is why every `tl.dot` here has `input_precision="ieee"`.
#
# ### Exercise 8: a product in three parts
#
# Tensor cores can still be used, at the cost of three products. A float32 number is the sum of two TF32 numbers,
# a = aₕ + aₗ, up to the last bits: aₕ is *a* rounded, aₗ the rest. Then
#
# $$a\,b = a_h b_h + a_h b_l + a_l b_h + a_l b_l$$
#
# and the last term is below float32's precision. Write it with `product(a, b)`, which rounds its operands to TF32 as
# tensor cores do, and `to_tf32`.

# %%
shown(specs.split_product_spec)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Split both operands: the high part is `to_tf32(a)`, the low part `a` minus it. Of the four products of parts, one
# is too small to matter. Add the two small ones to each other first, then to the large one.
#
# </details>


# %% tags=["exercise-split_product"]
def split_product(a, b, product, to_tf32):
    """a [B, K] times b [K, N] with float32's accuracy, from calls of `product` alone."""
    ### BEGIN SOLUTION
    a_high, b_high = to_tf32(a), to_tf32(b)
    a_low, b_low = a - a_high, b - b_high
    return product(a_high, b_high) + (product(a_high, b_low) + product(a_low, b_high))
    ### END SOLUTION


# %%
checks_in_python.split_product(split_product)

# %% tags=["instructor"]
checks_in_python.split_product.usual_mistakes()

# %% [markdown]
# ### Three parts of eight bits
#
# Tensor cores take another format twice as fast as TF32: *bfloat16*, with float32's range and 8 significant bits. That
# is too little for a weight. But a float32 number has 24 significant bits, and 24 is three times 8: round the weight to
# bfloat16, round what is left, and round what is left then. Three parts lose nothing, and a byte of an image needs one.
# So three products in bfloat16, with sums in float32, are as good as a product in float32. Here is what one, two and
# three parts do to the first layer:

# %%
for parts, rest, error in precision.bf16_errors(start["hidden1.weight"], pixels):
    print(f"{parts} part(s): a weight loses up to {rest:.0e} of itself,")
    print(f"           and the error of the product is {error:,.2f} times float32's")

# %% [markdown]
# And it pays. The networks of 100 epochs, evaluated on 60,000 images:

# %%
elsewhere.beside_prototypes("evaluation")

# %% [markdown]
# **Question 9.** Why did not a single pixel change? What does that mean for the number of products in the first layer?

# %% [markdown] tags=["instructor"]
# > **Answer.** A pixel is a byte over 256: 8 significant bits, and TF32 keeps 11 (10 and the leading one). So x has no
# > low part, and two products, x wₕ + x wₗ, are enough for the first layer, which is nearly all of the work.
