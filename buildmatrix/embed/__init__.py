"""The matrix inside other people's build systems."""
