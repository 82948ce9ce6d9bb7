"""The delivery of a fix: one signed folder a machine with the binary, the detection, the way back and the notes."""
