"""The mask classifier: takes labelled faces, gives checkpoints, ONNX files in two precisions and measurements.

Data flow one way: `data`, `more` (faces), `augment` and `paint` (crops), `train`, `teacher`, `quantize`; `evaluate`,
`clips` and `plots` measure, `label` and `promote` are the two ends of a retrain. Knows nothing of `detector`.
"""
