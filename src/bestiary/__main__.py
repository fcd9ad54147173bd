"""`python -m bestiary` is the command line."""

from bestiary.door.cli import main

if __name__ == "__main__":
    main()
