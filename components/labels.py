"""Labels on everything that an environment has on Kubernetes, as the default tags of its provider are on AWS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

_CHARTS = "kubernetes:helm.sh/"
"""Releases of charts are no objects of Kubernetes: they have no metadata."""


def labelled(labels: Mapping[str, str]) -> pulumi.ResourceTransformation:
    """Return what adds labels to every object of Kubernetes below a component; its own labels win.

    Args:
        labels: the labels.
    """

    def add(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if not args.type_.startswith("kubernetes:") or args.type_.startswith(_CHARTS):
            return None
        metadata: Any = args.props.get("metadata") or {}
        own = metadata.get("labels") or {}
        return pulumi.ResourceTransformationResult(
            props={**args.props, "metadata": {**metadata, "labels": {**labels, **own}}}, opts=args.opts
        )

    return add
