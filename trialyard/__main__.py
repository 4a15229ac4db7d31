"""`python -m trialyard` is `trialyard`."""

from trialyard.cli import main

if __name__ == "__main__":
    main()
