"""Takes the faces of consecutive frames; gives tracked persons, their verdicts and their events."""
