"""Floor 2: simulators with exact flow, key-points and labels."""
