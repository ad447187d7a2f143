"""The wire formats of predictions, pure: bytes in, checked columns out, and back. No I/O, no clock, no model.

`v2` is the Open Inference Protocol V2 with the binary tensor extension, `invocations` MLflow's scoring payloads. Both
are compiled once per model version (`Codec`): working out names and types anew for each request is what costs time.
"""
