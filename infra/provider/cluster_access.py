"""Talking to a server inside a Kubernetes cluster through the API server's service proxy.

The API server takes the header `authorization` for itself and does not pass it on; what the server behind it asks for
travels as `x-mlops-authorization`. Who calls is proven as `aws eks get-token` does it: by a signed request to STS that
the cluster sends on, which names the cluster and holds for a minute to be begun and a quarter of an hour in all. Where
`MLOPS_KUBERNETES_TOKEN` is set, that bearer token is shown instead.
"""

import base64
import os
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any

from infra.provider.resource import ResourceError

TOKEN = "MLOPS_KUBERNETES_TOKEN"  # noqa: S105 - the name of a variable
INNER_HEADER = "x-mlops-authorization"
"""Carries what the server behind the proxy asks for; `serving.control.app` reads it."""

_SIGNED_SECONDS = 60
_KEPT_SECONDS = 600.0
"""EKS accepts a token for 15 minutes after it was signed."""

_tokens: dict[tuple[str, str], tuple[float, str]] = {}
_lock = threading.Lock()


def headers(proxy: Mapping[str, Any], token: str | None) -> dict[str, str]:
    """Return the headers of a request to an API server, or through a proxy of it.

    Args:
        proxy: `cluster` and `region` of a cluster on EKS.
        token: the token that the server behind the proxy asks for; None for the API server itself.

    Raises:
        ResourceError: there are no credentials of AWS to sign with.
    """
    own = {"authorization": f"Bearer {cluster_token(str(proxy['cluster']), str(proxy['region']))}"}
    return own if token is None else {**own, INNER_HEADER: f"Bearer {token}"}


def context(proxy: Mapping[str, Any]) -> ssl.SSLContext:
    """Return what trusts the cluster's own certificate authority (`authority`: PEM, base64), and no other.

    Raises:
        ResourceError: it is no certificate.
    """
    try:
        return ssl.create_default_context(cadata=base64.b64decode(str(proxy["authority"])).decode("ascii"))
    except (ValueError, ssl.SSLError) as error:
        raise ResourceError(f"the certificate authority of cluster {proxy['cluster']} can't be read: {error}") from None


def cluster_token(cluster: str, region: str) -> str:
    """Return a bearer token for the API server of a cluster, one that is still good where there is one."""
    given = os.environ.get(TOKEN)
    if given:
        return given
    with _lock:
        made, token = _tokens.get((cluster, region), (-_KEPT_SECONDS, ""))
        now = time.monotonic()
        if now - made >= _KEPT_SECONDS:
            token = signed_token(cluster, region)
            _tokens[cluster, region] = (now, token)
        return token


def signed_token(cluster: str, region: str) -> str:
    """Sign a token with the credentials that boto3 would use; nothing is sent.

    Raises:
        ResourceError: there are none.
    """
    from botocore.exceptions import BotoCoreError  # only those who reach a cluster pay for the import
    from botocore.model import ServiceId
    from botocore.session import Session
    from botocore.signers import RequestSigner

    try:
        session = Session()
        credentials = session.get_credentials()
        if credentials is None:
            raise ResourceError(
                f"there are no credentials of AWS, by which the cluster {cluster} knows who asks: log in (aws sso "
                "login), or name a profile by AWS_PROFILE"
            )
        signer = RequestSigner(
            ServiceId("STS"), region, "sts", "v4", credentials, session.get_component("event_emitter")
        )
        address = signer.generate_presigned_url(
            {
                "method": "GET",
                "url": f"https://sts.{region}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
                "body": {},
                "headers": {"x-k8s-aws-id": cluster},
                "context": {},
            },
            region_name=region,
            expires_in=_SIGNED_SECONDS,
            operation_name="",
        )
    except BotoCoreError as error:
        raise ResourceError(f"the credentials of AWS can't be used for the cluster {cluster}: {error}") from None
    return "k8s-aws-v1." + base64.urlsafe_b64encode(address.encode()).decode().rstrip("=")
