"""Pulumi component resources: one capability of the platform each, with a contract and one realisation per target."""
