# %% [markdown]
# # Measure this GPU
#
# This notebook trains breaknet's small network in every way the project knows, from a notebook's loop to one kernel
# for a whole run, on the GPU that this notebook runs on. It checks every implementation against float64 first, takes
# 8 minutes, and then shows your GPU beside others. Nothing is sent anywhere: you get a file, and may contribute it.
#
# On Colab choose **Runtime > Change runtime type > T4 GPU**, then **Runtime > Run all**. Leave the notebook alone
# meanwhile: whatever else the machine does is measured, too.

# %% [markdown]
# ## Set-up

# %% tags=["gpu-set-up"]
# scripts/pack_notebooks.py writes this cell from scripts/packed_set_up.py

# %% tags=["parameters"]
seconds = 480  # for everything but the download of the digits
rehearse = False  # True: without a GPU, the same paths under Triton's interpreter; times mean nothing then
out = "measured-gpu"  # the folder for rows.json, report.txt and log.txt

# %% [markdown]
# ## Checks, then measurements
#
# A line for each part as it ends. Parts come in the order of their worth. One that runs out of its time, or fails,
# keeps what it had measured by then, and the next one begins.

# %%
sys.path.insert(0, str(FOLDER))
from benchmarks import this_gpu

this_gpu.measure(out, seconds=seconds, rehearse=rehearse)

# %% [markdown]
# ## Your GPU beside others

# %%
this_gpu.ladder(f"{out}/rows.json")

# %% [markdown]
# ## Contribute it
#
# `rows.json` holds every time with its conditions: GPU, power limit, driver, versions, commit and date, and nothing
# about you. To contribute it, attach the file to an issue of the project, or send it to whoever gave you this notebook.
# In a checkout, `python -m benchmarks.gpu --store rows.json` files the rows under `benchmarks/results/`, and
# `make tables` brings them into the documents. If something failed, attach `report.txt`, too: it says what.

# %%
this_gpu.offer(f"{out}/rows.json")
