"""Many clips: planned, made by workers, written as a data set, validated, and audited."""
