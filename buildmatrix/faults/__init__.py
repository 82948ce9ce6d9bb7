"""Workloads under injected faults: what fails, how often, and how long it takes to recover."""
