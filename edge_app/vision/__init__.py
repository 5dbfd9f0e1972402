"""Takes a frame, uint8 (H, W, 3) BGR; gives its faces as `sv.Detections`, each with a label.

`analyzer.Analyzer` is the entry point of `run`, `image` and the Python API. Behind it are the detector, the
preprocessing (`crops`), the classifier and the quality of a face.
"""
