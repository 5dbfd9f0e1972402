"""Takes a model folder; gives its checked manifest and a session that runs the network."""
