"""From raw files to a trained bundle and an augmented cohort: the stages of one YAML, each done once."""
