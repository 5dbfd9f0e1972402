"""The face detector: takes labelled scenes and earlier detectors, gives checkpoints, ONNX files and measurements.

Data flow one way: `scene`, `data` (labels), `augment` and `batches` (windows), `net`, `loss`, `teachers`, `train`;
`evaluate`, `compare` and `together` measure, `mining` finds where a detector errs. Knows nothing of `classifier`.
"""
