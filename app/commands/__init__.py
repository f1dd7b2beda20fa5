"""Commands of `rise-serve`, a file each for what belongs together; `app/cli.py` puts them on the command line."""
