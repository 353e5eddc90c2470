"""`python -m echokdm` is the command `echokdm`."""

from echokdm.cli.app import app

if __name__ == "__main__":
    app(prog_name="echokdm")
