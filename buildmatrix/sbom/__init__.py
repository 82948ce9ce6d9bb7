"""Software bills of materials: what an artifact, a tree or an image is made of.

`golang` and `tree` make a Bill from facts, `cyclonedx` and `spdx` write it, `reading` takes both formats
back in, `compare` holds a document against the one that the bytes call for, `diff` tells two bills apart.
Everything here is pure.
"""
