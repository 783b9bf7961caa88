"""`python -m omnitok`: the same as the `omnitok` command."""

from .cli import main

main()
