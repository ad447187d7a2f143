"""What a model artifact is and how it runs: shared by replicas, evaluation and batch, so that all three agree.

`artifact` names its content files and digest, `signature` its tensors, `contract` its serving.json, `model` loads and
runs it.
"""
