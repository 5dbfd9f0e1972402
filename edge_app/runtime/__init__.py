"""Takes settings; runs cameras from their first frame to the last event and the summary."""
