"""Data sets and the transforms that keep images, key-points and flows together."""
