"""Takes results and events; writes them to files and windows without destroying anything."""
