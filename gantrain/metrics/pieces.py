"""Evaluation in pieces: what processes share."""

# Samples in a piece. A generator's randomness is a function of the piece, so that neither the number of processes nor
# the size of batches matters.
PIECE = 64
