"""The servers that ours is measured beside: each serves the same ONNX file and answers the same V2 request."""
