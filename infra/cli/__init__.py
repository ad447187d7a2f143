"""The `mlops` command: a file per command group, all thin edges over the engine, the stack's outputs and HTTP."""
