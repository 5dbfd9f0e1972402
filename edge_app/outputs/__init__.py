"""Takes events and results; delivers them to files, windows and other systems, and destroys nothing.

Event outputs (`events/`) are opened once per process and fed by all cameras: no event is lost. Frame outputs
(`frames/`) belong to one camera and may leave frames out. `registry` names both kinds: one line to add one.
"""
