"""How drift of a model's data starts its training on AWS: an object below a prefix of the bucket of data is an event.

A monitor tells the rollout controller, which writes the alarm into its ledger and puts the object
(`serving.control.drift`). So what started a training is on record, and nobody needs a right over events. It puts an
object rather than an event because the serving image has what writes to S3 and no SDK of AWS; an object also stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.cloud import Cloud
from components.models import Model

BUCKET, PREFIX = "data", "drift"
"""Purpose of the bucket, and what stands before `/<model>/<alarm>.json`."""


def pattern(cloud: Cloud, model: Model) -> Mapping[str, Any]:
    """Pattern of the event that says that a model's data drifted (S3 user guide, EventBridge event message structure).

    Args:
        cloud: the environment.
        model: the model.
    """
    return {
        "source": ["aws.s3"],
        "account": [cloud.account],
        "detail-type": ["Object Created"],
        "detail": {
            "bucket": {"name": [cloud.names.bucket(BUCKET)]},
            "object": {"key": [{"prefix": f"{PREFIX}/{model.name}/"}]},
        },
    }
