"""Labelled images: reading, fetching and keeping them.

splits             `Split` and `Digits`
mnist              `load_mnist`: a local copy, the cache, a mirror, or synthetic digits
local, idx, archives   files that people have: IDX, pickles of arrays, npz
download, cache    published files, checked against their hashes; digits kept decoded
synthetic          digits drawn from fonts, where there is neither network nor copy
breakage           `shuffle_labels`
"""
