"""The two models that the blueprint ships, on real data that needs no download from a hub."""
