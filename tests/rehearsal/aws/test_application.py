"""The layer in front of moto."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from infra.rehearsal.aws.gaps.application import Application
from infra.rehearsal.aws.gaps.supplied import Supplied

LISTING = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/",
    "HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=one/20260101/eu-central-1/s3/aws4_request, Signature=two",
}


def test_moto_answers_one_call_at_a_time() -> None:
    inside, besides = threading.Semaphore(), threading.Event()

    def moto(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if not inside.acquire(blocking=False):
            besides.set()
        besides.wait(0.5)  # time for another call to come in
        inside.release()
        start("200 OK", [])
        return [b"answer"]

    application = Application(moto, Supplied({}, dict))
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: list(application(dict(LISTING), lambda *_: None)), range(2)))

    assert answers == [[b"answer"]] * 2
    assert not besides.is_set()
