"""Takes the text of a source; gives its frames, newest first where it is live, and reconnects."""
