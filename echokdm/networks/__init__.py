"""Floor 2: modules, with no loss in them."""
