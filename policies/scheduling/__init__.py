"""Whether each workload of an environment fits on some pool of nodes: pure, so that previews and rules can ask it."""
