"""Floor 4: the methods, each a list of stages to train and a way to generate."""
