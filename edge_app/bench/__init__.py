"""Takes a source; gives throughput and stage times on this machine, and those of a baseline."""
