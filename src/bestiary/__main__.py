"""`python -m bestiary` is the command line."""

from bestiary.cli.main import main

if __name__ == "__main__":
    main()
