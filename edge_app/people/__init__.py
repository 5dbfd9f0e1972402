"""Takes the faces of one frame after another; gives persons, their verdicts and their events."""
