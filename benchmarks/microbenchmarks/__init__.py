"""Loops that measure one property of a device: its ceilings, and a grid barrier."""
