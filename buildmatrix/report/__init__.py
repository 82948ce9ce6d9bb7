"""Presentation: outcomes and findings for people and for programs. Judges nothing."""
