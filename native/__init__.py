"""The C core, its build and its tests."""
