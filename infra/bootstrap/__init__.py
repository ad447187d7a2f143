"""What must exist in an account before a stack does: the place of its state, the key of its secrets, who may deploy.

`documents` says what (pure), `account` looks and makes (boto3), `infra.cli.bootstrap` tells a person.
"""
