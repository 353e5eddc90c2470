"""Pure tensor functions on grids, flows, key-points and ventricles."""
