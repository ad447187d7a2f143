"""Who may touch what in an environment on AWS: one declaration, and what is made of it."""
