"""The front door: what the package's names in Python stand for, as values that show themselves."""
