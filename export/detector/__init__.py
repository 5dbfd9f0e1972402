"""The face detector: takes labelled scenes and earlier detectors, gives checkpoints, ONNX files and measurements.

Data flow one way: `scene`, `data` (labels), `augment` and `batches` (windows), `net`, `loss`, `teachers`, `train`,
`release`; `evaluate`, `compare` and `together` measure, `mining` collects hard examples. Independent of `classifier`.
"""
