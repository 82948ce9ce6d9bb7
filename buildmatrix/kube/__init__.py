"""Kubernetes manifests: rendered by the real tools, read as Kubernetes reads them, held to a verified image index."""
