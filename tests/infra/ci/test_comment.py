"""The one comment: found again by its marker, edited in place, never somebody else's, and tamed before it is posted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.ci import comment
from infra.ci.comment import CommentError, harmless, read_number, run
from policies.report import markdown
from policies.report.document import Review

TOKEN = "s3cret"
REVIEW = f"{comment.MARKER}\n## Review: may be merged\n"
SHA = "a" * 40


class Server(ThreadingHTTPServer):
    """The API paths that we use, of both platforms, over two lists of comments."""

    comments: list[dict[str, Any]]
    asked: list[str]
    head: str


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None: ...

    def _answer(self, code: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _handle(self) -> None:
        server, parts = self.server, urlsplit(self.path)
        server.asked.append(f"{self.command} {parts.path}")
        length = int(self.headers.get("Content-Length") or 0)
        body: dict[str, Any] = json.loads(self.rfile.read(length)) if length else {}
        github = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not github and self.headers.get("PRIVATE-TOKEN") != TOKEN:
            return self._answer(401, {"message": "Bad credentials"})
        path = parts.path
        if path == "/repos/acme/ml/pulls/7":
            return self._answer(200, {"head": {"sha": server.head}})
        if path == "/user":
            return self._answer(200, {"id": 1})
        lists = ("/repos/acme/ml/issues/7/comments", "/projects/acme%2Fml/merge_requests/7/notes")
        if path in lists and self.command == "GET":
            page = int(dict(one.split("=") for one in parts.query.split("&"))["page"])
            return self._answer(200, server.comments[(page - 1) * 100 : page * 100])
        if path in lists and self.command == "POST":
            server.comments.append(_ours(len(server.comments) + 1, body["body"]))
            return self._answer(201, server.comments[-1])
        owner, _, number = path.rpartition("/")
        edits = {"/repos/acme/ml/issues/comments": "PATCH", lists[1]: "PUT"}
        if edits.get(owner) == self.command:
            found = next(one for one in server.comments if one["id"] == int(number))
            found["body"] = body["body"]
            return self._answer(200, found)
        return self._answer(404, {"message": "Not Found"})

    do_GET = do_POST = do_PATCH = do_PUT = _handle  # noqa: N815 - the library's names


def _ours(number: int, body: str) -> dict[str, Any]:
    return {"id": number, "body": body, "user": {"type": "Bot"}, "author": {"id": 1}}


def _theirs(number: int, body: str) -> dict[str, Any]:
    return {"id": number, "body": body, "user": {"type": "User"}, "author": {"id": 2}}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), _Handler)
    made.comments, made.asked, made.head = [], [], SHA
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def post(server: Server, tmp_path: Path) -> Any:
    """Post a review by the command line to one of the platforms."""

    def posting(platform: str, text: str = REVIEW, *more: str, token: str = TOKEN) -> int:
        file = tmp_path / "review.md"
        file.write_text(text)
        url = f"http://127.0.0.1:{server.server_port}"
        environ = {
            "TOKEN": token, "GITHUB_API_URL": url, "GITHUB_REPOSITORY": "acme/ml", "CI_API_V4_URL": url,
            "CI_PROJECT_ID": "acme/ml",
        }  # fmt: skip
        return run([platform, str(file), *(more or ("--number", "7"))], environ)

    return posting


both = pytest.mark.parametrize("platform", ["github", "gitlab"])


@both
def test_a_first_review_is_added_and_the_next_takes_its_place(post: Any, server: Server, platform: str) -> None:
    server.comments.append(_theirs(1, "nice"))
    post(platform)
    post(platform, REVIEW.replace("may be", "must not be"))
    assert [one["body"] for one in server.comments] == ["nice", REVIEW.replace("may be", "must not be")]


@both
def test_a_comment_of_somebody_else_is_left_alone_whatever_it_holds(post: Any, server: Server, platform: str) -> None:
    server.comments.append(_theirs(1, REVIEW + "forged"))
    post(platform)
    assert server.comments[0]["body"] == REVIEW + "forged"
    assert len(server.comments) == 2


@both
def test_ours_is_found_behind_hundreds_of_others(post: Any, server: Server, platform: str) -> None:
    server.comments += [_theirs(number, "x") for number in range(1, 251)] + [_ours(251, REVIEW)]
    post(platform, REVIEW + "new\n")
    assert len(server.comments) == 251
    assert server.comments[-1]["body"].endswith("new\n")


@both
def test_a_refusal_is_told_without_the_token(post: Any, platform: str) -> None:
    with pytest.raises(CommentError, match="401") as error:
        post(platform, token="wr0ng")
    assert "wr0ng" not in str(error.value)


def test_the_number_from_a_review_counts_when_its_pull_request_has_that_commit(
    post: Any, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "number").write_text("7\n")
    stated = ("--number-file", str(tmp_path / "number"), "--head", SHA)
    assert post("github", REVIEW, *stated) == 7
    server.head = "b" * 40
    with pytest.raises(CommentError, match="another commit"):
        post("github", REVIEW, *stated)
    assert len(server.comments) == 1


@pytest.mark.parametrize("text", ["", "0", "-1", "7; rm", "../8", "99999999999", "\uff17"])
def test_what_is_no_number_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "number"
    file.write_text(text)
    with pytest.raises(CommentError, match="number"):
        read_number(file)


def test_a_review_that_wrote_nothing_replaces_an_older_one(post: Any, server: Server, tmp_path: Path) -> None:
    server.comments.append(_ours(1, REVIEW))
    environ = {
        "TOKEN": TOKEN, "GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}", "GITHUB_REPOSITORY": "acme/ml",
    }  # fmt: skip
    run(["github", str(tmp_path / "gone.md"), "--number", "7"], environ)
    assert "did not come to an end" in server.comments[0]["body"]


def test_how_the_run_ended_is_told_by_us_above_what_it_wrote() -> None:
    told = harmless(REVIEW, "failure")
    assert told.splitlines()[:2] == [comment.MARKER, "> The run of this review ended with **failure**."]
    assert told.index("**failure**") < told.index("may be merged")


@pytest.mark.parametrize(
    "written",
    [
        "@team", "[click](http://evil.example)", "![x](http://evil.example/p.png)", "https://evil.example",
        "www.evil.example", "<img src=x onerror=y>", "<details>", "<!--", "[a]: http://evil.example",
    ],
)  # fmt: skip
def test_what_a_change_wrote_itself_is_tamed(written: str) -> None:
    body = harmless(REVIEW + written)[len(comment.MARKER) :]
    for acts in ("@t", "](", "]:", "http://", "https://", "www.", "<img", "<details", "<!--"):
        assert acts not in body


def test_our_own_review_passes_as_it_is(full: Review) -> None:
    text = markdown.render(full)
    assert harmless(text).replace("\u200b", "") == text


def test_what_does_not_begin_with_the_marker_is_not_posted() -> None:
    with pytest.raises(CommentError, match="no review"):
        harmless("## Review: may be merged")


def test_the_marker_and_the_limit_are_those_of_the_review() -> None:
    assert (comment.MARKER, comment.LIMIT) == (markdown.MARKER, markdown.LIMIT)


def test_it_needs_nothing_but_the_standard_library() -> None:
    import ast
    import sys

    tree = ast.parse(Path(comment.__file__).read_text())
    imported = {one.module for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
    imported |= {name.name for one in ast.walk(tree) if isinstance(one, ast.Import) for name in one.names}
    assert {str(one).partition(".")[0] for one in imported} <= sys.stdlib_module_names
