"""Serving: Ray Serve application, its protocol, the control plane of model versions, capture and counters.

`serving.runtime` is the part that training and batch share with the replicas: the artifact's format and how a model
runs.
"""
