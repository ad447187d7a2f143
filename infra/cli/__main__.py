"""`python -m infra.cli`: what the launcher `mlops` runs."""

from infra.cli.app import main

main()
