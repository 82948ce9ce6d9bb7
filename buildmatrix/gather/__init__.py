"""Brings together what reports are made of: what verification saw, and what else lies in dist/."""
