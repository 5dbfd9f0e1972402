"""The mask classifier: takes labelled faces, gives checkpoints, ONNX files in two precisions and measurements.

Data flow one way: `data`, `reviewed` (faces), `augment` and `paint` (crops), `teacher`, `train`, `quantize`,
`release`; `evaluate`, `clips` and `plots` measure; `label` and `promote` are the first and last step of a retrain.
Independent of `detector`.
"""
