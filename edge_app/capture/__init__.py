"""Takes the text of a source; gives its frames, only the newest where it is live, and reconnects."""
