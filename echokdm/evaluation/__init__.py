"""What methods reach on data that they never saw."""
