"""Comparisons with other tools, side by side in one run: `make bench`."""
