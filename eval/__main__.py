"""`python -m c3.eval`: the evaluation suites."""

from .command import main

if __name__ == "__main__":
    main()
