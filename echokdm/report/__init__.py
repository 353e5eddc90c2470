"""Figures and self-contained pages of what was made."""
