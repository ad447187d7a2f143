"""The jobs of a model: ingest, materialize and train, and the schedule that starts retraining.

Each is `python -m training.pipelines.<name>`, reads its surroundings from the environment (`training.workspace`) and
writes one JSON result. Each can be run again at any time: what is there already is found, not made twice.
"""
