"""Floor 4: scores, each inside a mask and with its interval, and the record of how it was measured."""
