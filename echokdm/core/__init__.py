"""Floor 0: types, errors, configuration, seeded generators. Imports nothing else of the package."""
