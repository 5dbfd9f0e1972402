"""The model workshop: train, export, quantize and evaluate. Never imported by the runtime."""
