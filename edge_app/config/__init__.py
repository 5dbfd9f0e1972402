"""Takes files, environment and flags; gives one validated `Settings`."""
