"""Training: data contracts, snapshots, features, fit, export, evaluation, registration, retraining.

A model is one folder with a `model.py` that states a `ModelSpec` (`training.spec`); the pipelines in
`training.pipelines` do the rest and are what the platform runs as jobs. Heavy libraries are imported where they are
used: a job that only ingests does not pay for MLflow.
"""
