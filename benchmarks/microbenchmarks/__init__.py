"""Loops that measure one property of a device: `ceilings`, its rates; `barrier`, a grid's barrier."""
