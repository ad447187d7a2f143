"""Posts a review as one comment on a pull request (GitHub) or merge request (GitLab), and edits it in place later.

    python3 infra/ci/comment.py github --number-file FILE --head SHA --conclusion success review.md
    python3 infra/ci/comment.py gitlab --number 7 review.md

Runs with the right to write, so that it runs from the default branch, with the standard library alone, and takes the
text as what a stranger wrote: it must begin with our marker, and what would notify, link or hide is broken. The number
of the pull request comes from the review too, and counts only when that pull request has the commit that was reviewed.

Environment: TOKEN; GitHub: GITHUB_API_URL, GITHUB_REPOSITORY; GitLab: CI_API_V4_URL, CI_PROJECT_ID.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

MARKER = "<!-- mlops-review -->"
LIMIT = 65_536
"""Characters of a comment on GitHub."""
_PAGES = 50
_SECONDS = 30.0
_TAGS = re.compile(r"<(?!/?(?:sub|code)>)")


class CommentError(Exception):
    """The comment cannot be posted; the text says why."""


class Platform(Protocol):
    """Where comments are posted."""

    def comments(self, number: int) -> Iterator[tuple[int, str]]:
        """Yield id and text of the comments that we wrote."""

    def edit(self, number: int, comment: int, text: str) -> None:
        """Put a text in place of a comment's."""

    def add(self, number: int, text: str) -> None:
        """Add a comment."""


class _Http:
    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise CommentError(f"{url!r} is no address of an API")
        self._url, self._headers = url.rstrip("/"), headers

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the API answers.

        Raises:
            CommentError: it does not, or refuses.
        """
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            self._url + path,
            method=method,
            headers={"Content-Type": "application/json", "User-Agent": "mlops-review", **self._headers},
            data=json.dumps(body).encode() if body is not None else None,
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - the scheme was looked at
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            said = error.read(500).decode("utf-8", "replace")
            raise CommentError(f"{method} {path} was answered with {error.code}: {said}") from None
        except (OSError, ValueError) as error:
            raise CommentError(f"{method} {path} failed: {error}") from None

    def pages(self, path: str) -> Iterator[Any]:
        """Yield the entries of a list, page by page.

        Raises:
            CommentError: it does not end, or the API refuses.
        """
        for page in range(1, _PAGES + 1):
            found = self.ask("GET", f"{path}?per_page=100&page={page}")
            yield from found
            if len(found) < 100:
                return
        raise CommentError(f"{path} has more than {_PAGES} pages")


class GitHub:
    """Comments on pull requests through GitHub's REST API."""

    def __init__(self, url: str, repository: str, token: str) -> None:
        headers = {
            "Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }  # fmt: skip
        self._http = _Http(url, headers)
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
            raise CommentError(f"{repository!r} is no repository")
        self._base = f"/repos/{repository}"

    def head(self, number: int) -> str:
        """Return the commit that a pull request has now."""
        return str(self._http.ask("GET", f"{self._base}/pulls/{number}")["head"]["sha"])

    def comments(self, number: int) -> Iterator[tuple[int, str]]:
        """Yield id and text of the comments that a bot wrote: nobody else's is edited, whatever it holds."""
        for one in self._http.pages(f"{self._base}/issues/{number}/comments"):
            if (one.get("user") or {}).get("type") == "Bot":
                yield int(one["id"]), str(one.get("body") or "")

    def edit(self, number: int, comment: int, text: str) -> None:  # noqa: ARG002 - comments have their own address
        """Put a text in place of a comment's."""
        self._http.ask("PATCH", f"{self._base}/issues/comments/{comment}", {"body": text})

    def add(self, number: int, text: str) -> None:
        """Add a comment."""
        self._http.ask("POST", f"{self._base}/issues/{number}/comments", {"body": text})


class GitLab:
    """Notes of merge requests through GitLab's REST API."""

    def __init__(self, url: str, project: str, token: str) -> None:
        self._http = _Http(url, {"PRIVATE-TOKEN": token})
        self._base = f"/projects/{urllib.parse.quote(project, safe='')}/merge_requests"
        self._user: int | None = None

    def comments(self, number: int) -> Iterator[tuple[int, str]]:
        """Yield id and text of the notes that the token's own user wrote."""
        user = self._http.ask("GET", "/user")["id"]
        for one in self._http.pages(f"{self._base}/{number}/notes"):
            if (one.get("author") or {}).get("id") == user and not one.get("system"):
                yield int(one["id"]), str(one.get("body") or "")

    def edit(self, number: int, comment: int, text: str) -> None:
        """Put a text in place of a note's."""
        self._http.ask("PUT", f"{self._base}/{number}/notes/{comment}", {"body": text})

    def add(self, number: int, text: str) -> None:
        """Add a note."""
        self._http.ask("POST", f"{self._base}/{number}/notes", {"body": text})


def post(platform: Platform, number: int, text: str) -> str:
    """Post a text as the one comment of ours; return what was done.

    Raises:
        CommentError: the platform refuses.
    """
    ours = [comment for comment, body in platform.comments(number) if body.startswith(MARKER)]
    if ours:
        platform.edit(number, ours[0], text)
        return "edited"
    platform.add(number, text)
    return "added"


def harmless(text: str, conclusion: str = "") -> str:
    """Return a review's text with nothing in it that notifies people, leads elsewhere or hides what follows.

    A review escapes its own text, so that nothing of it is lost; what a change's own code wrote in its place is tamed.

    Args:
        text: what the review wrote.
        conclusion: how its run ended, told above it by us; empty to tell nothing.

    Raises:
        CommentError: it is no review.
    """
    if not text.startswith(MARKER + "\n"):
        raise CommentError("this is no review: it does not begin with the marker")
    body = text[len(MARKER) :].replace("\r", "")
    body = _TAGS.sub("&lt;", body)
    body = re.sub(r"@(?=\w)", "@\u200b", body)
    body = re.sub(r"\](?=[\[(:])", "]\u200b", body)
    body = re.sub(r"(?i)(https?|ftp)://", "\\1\u200b://", body)
    body = re.sub(r"(?i)\bwww\.", "www\u200b.", body)
    told = f"\n> The run of this review ended with **{_word(conclusion)}**.\n" if conclusion else ""
    return (MARKER + told + body)[:LIMIT]


def _word(text: str) -> str:
    return re.sub(r"[^a-z_]", "", text.lower())[:40]


def read_number(file: Path) -> int:
    """Return the number that a file holds.

    Raises:
        CommentError: it holds none.
    """
    try:
        text = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommentError(f"the number of the pull request cannot be read: {error}") from None
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text):
        raise CommentError(f"{text[:40]!r} is no number of a pull request")
    return int(text)


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what the command line says; return the number of the pull request.

    Raises:
        CommentError: it cannot be done.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("platform", choices=["github", "gitlab"])
    parser.add_argument("markdown", type=Path)
    parser.add_argument("--number", type=int)
    parser.add_argument("--number-file", type=Path)
    parser.add_argument("--head", default="", help="the commit that was reviewed; GitHub")
    parser.add_argument("--conclusion", default="", help="how the run of the review ended")
    stated = parser.parse_args(arguments)
    if (stated.number is None) == (stated.number_file is None):
        parser.error("state one of --number and --number-file")
    number = stated.number if stated.number is not None else read_number(stated.number_file)
    token = environ.get("TOKEN", "")
    if not token:
        raise CommentError("TOKEN is not set")
    platform: Platform
    if stated.platform == "github":
        url = environ.get("GITHUB_API_URL", "https://api.github.com")
        github = GitHub(url, environ.get("GITHUB_REPOSITORY", ""), token)
        if stated.number_file is not None and (not stated.head or github.head(number) != stated.head):
            raise CommentError(f"pull request {number} has another commit than was reviewed; nothing is posted")
        platform = github
    else:
        platform = GitLab(environ.get("CI_API_V4_URL", ""), environ.get("CI_PROJECT_ID", ""), token)
    text = _review_text(stated.markdown)
    done = post(platform, number, harmless(text, stated.conclusion))
    sys.stderr.write(f"{done} the comment on {number}\n")
    return number


def _review_text(file: Path) -> str:
    """Return what the review wrote; that it wrote nothing is told as such, in place of an older and better text."""
    try:
        return file.read_text("utf-8", "replace")
    except FileNotFoundError:
        return f"{MARKER}\n## Review: must not be merged\n\nThe review did not come to an end: its log says why.\n"
    except OSError as error:
        raise CommentError(f"{file} cannot be read: {error}") from None


def main() -> int:
    """Run it; the number goes to standard output."""
    try:
        number = run(sys.argv[1:], os.environ)
    except CommentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{number}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
