"""Simulators with exact flow, key-points and labels."""
