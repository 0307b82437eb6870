"""A bundle as one file for other runtimes: ONNX, or what ``torch.export`` writes."""
