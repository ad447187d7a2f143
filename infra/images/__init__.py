"""Images of the environment: their locks, written from the project's one lock, and what their Dockerfiles must keep.

python -m infra.images [--write]
"""
