"""Signing backends, one a file: who holds the private key, and how it is asked."""
