"""The Pulumi program of the platform and what runs it."""
