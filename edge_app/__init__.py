"""edge_app: camera in, mask verdicts out."""

__version__ = "0.1.0"
