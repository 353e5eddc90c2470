"""Floor 3: the one training loop, the one sampling loop. Knows no method."""
