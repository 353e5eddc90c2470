"""Floor 1: files to clips and back."""
