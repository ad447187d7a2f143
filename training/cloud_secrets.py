"""Secrets of AWS Secrets Manager, for jobs that run there: read when they are needed, kept in memory only."""

from training.errors import TrainingError

SCHEME = "secretsmanager:"
"""Begins a value that names a secret instead of holding it."""


def secret_value(secret: str) -> str:
    """Return a secret, by its name or ARN; region and credentials come from the environment.

    Raises:
        TrainingError: it is not there, holds nothing yet, or may not be read; never with its value.
    """
    import boto3  # only where jobs run on AWS
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return str(boto3.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
    except KeyError:
        raise TrainingError(f"secret {secret} cannot be read: it holds bytes instead of text") from None
    except (BotoCoreError, ClientError) as error:
        raise TrainingError(f"secret {secret} cannot be read: {error}") from None
