"""Takes a command line; gives what the user reads, and the exit code."""
