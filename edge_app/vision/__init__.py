"""Takes a frame; gives its faces, each with the probability that it wears a mask."""
