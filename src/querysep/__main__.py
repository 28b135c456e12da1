"""``python -m querysep``: the command line."""

from querysep.cli.main import main

main()
