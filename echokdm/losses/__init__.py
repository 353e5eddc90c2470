"""Floor 2: training objectives."""
