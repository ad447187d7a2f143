"""The records that a release is judged by: the evaluation of a training run and the manifest of a release.

Both are pydantic models without I/O: frozen, unknown keys refused, with a JSON Schema
(`Evaluation.model_json_schema(by_alias=True)`), so that training writes, policies judge and people review one form.
"""
