"""Docker's buildx as a program: builders past one machine, bake files, progress and results. Knows no images."""
