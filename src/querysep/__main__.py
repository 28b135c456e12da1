"""``python -m querysep``: the command line."""

from querysep.cli.main import main

if __name__ == "__main__":
    main()
