"""Takes a source; gives how fast this machine is, beside the usual recipe."""
