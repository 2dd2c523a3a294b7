"""The host's side of the kernels: limits, tiles, launchers, reports. Readers of trainers need only `TILES` of it."""
