"""The control plane of model versions: what is to be served, how a release rolls out, and the counters of all replicas.

Run it with `python -m serving.control --config control.json`. Predictions never wait for it. `rollout` decides and is
pure; `store` keeps and applies; `metrics` shows; `app` speaks HTTP.
"""
