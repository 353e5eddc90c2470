"""Types, errors, configuration, seeded generators. Imports nothing else of the package."""
