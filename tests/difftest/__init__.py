"""Differential fuzzing: what the preflight predicts, held against what the running kernel and loaders do."""
