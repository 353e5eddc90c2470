"""Floor 1: pure tensor functions on grids, flows, key-points and ventricles."""
