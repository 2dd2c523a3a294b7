"""The host's side of the kernels: limits, tiles, launchers and reports. Nothing here is needed to read a kernel."""
