"""Tomorrow's margin and the chance that an account breaks on the way."""
