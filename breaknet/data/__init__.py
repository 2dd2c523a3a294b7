"""Labelled images: reading, fetching and keeping them.

splits             `Split` and `Digits`
mnist              `load_mnist`: a local copy, the cache, a mirror, or synthetic digits
local              files and folders that people have, in any of the forms below
idx, archives, tables, arrays   IDX; `mnist.pkl.gz` and npz; CSV tables; arrays of any square size
bounded, pickles   files read in bounded memory; pickles of arrays without unpickling
download, cache    published files, checked against their hashes; digits kept decoded
synthetic          digits drawn from fonts, where there is neither network nor copy
photos             `read_image`: a digit of one's own, drawn or photographed
"""
