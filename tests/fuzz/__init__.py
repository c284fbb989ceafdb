"""Fuzzing: random inputs for every reader and verb; docs/fuzzing.md says what is promised."""
