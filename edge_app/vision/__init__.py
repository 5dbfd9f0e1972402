"""Takes a frame, uint8 (H, W, 3) BGR; gives its faces as `sv.Detections`, each with a label.

`analyzer.Analyzer` is the one way in: `run`, `image` and the Python API judge with it. Behind it stand the detector,
the pixel contract (`crops`), the classifier and the quality of a face.
"""
