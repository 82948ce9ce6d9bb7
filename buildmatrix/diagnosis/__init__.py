"""What this machine has of what the sessions of a matrix need, what it lacks, and the one command that mends it."""
