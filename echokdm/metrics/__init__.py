"""Floor 4: measures, each result saying how it was measured."""
