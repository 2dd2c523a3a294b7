"""Sweeps: grids of networks on broken data, trained in shards, resumed after a kill, shown as maps.

grid.py          the jobs of a sweep, read from a TOML file or a mapping
broken_data.py   each job's broken data, made once for the jobs that share it
shards.py        which jobs are trained together, and what a sweep will cost
store.py         the folder of results: one Parquet file a shard, whole or not at all
runner.py ray_engine.py   `breaknet.sweep`: what is left to do is done, here or on a Ray cluster
table.py         the tidy table, and means and spreads over seeds
maps.py page.py  heat maps, learning curves and the HTML page
atlas.py         one sweep of 1,320 networks, and what it shows
"""
