"""Measures buildmatrix beside its neighbours, in one run, alternating: ``python -m bench``."""
