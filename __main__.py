"""`python -m c3`: the command line."""

from c3.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
