"""Multi-arch images: assembled, proven from their bytes, published; see direct.py and proof.py."""
