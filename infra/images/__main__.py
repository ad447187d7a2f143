"""Check the images' locks and Dockerfiles, or write the locks."""

import argparse
import sys
from pathlib import Path

from infra.images.lint import lint
from infra.images.lock import IMAGES, image_lock

PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Return 0 when all is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m infra.images", description="Check the images' files.")
    parser.add_argument("--write", action="store_true", help="write images/<image>/requirements.lock")
    write = parser.parse_args().write
    wrong = []
    for image in IMAGES:
        folder = PROJECT / "images" / image.name
        lock, wanted = folder / "requirements.lock", image_lock(PROJECT, image)
        if write:
            lock.write_text(wanted, "utf-8")
        elif not lock.exists() or lock.read_text("utf-8") != wanted:
            wrong.append(f"{lock.relative_to(PROJECT)} differs from requirements.lock: python -m infra.images --write")
        file = folder / "Dockerfile"
        wrong += [f"{file.relative_to(PROJECT)}: {one}" for one in lint(file.read_text("utf-8"))]
    sys.stderr.writelines(f"{one}\n" for one in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
