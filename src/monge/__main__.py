"""`python -m monge` is `monge`."""

from monge.cli import main

main()
