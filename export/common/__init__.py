"""What both models share. Imports no other room of the workshop.

Takes labelled data (COCO files) and networks in torch; gives the training loop with its budget, optimizer, checkpoints
and learning curve, weights to and from ONNX files, and manifests with their cards.
"""
