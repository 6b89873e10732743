"""`python -m cli`: the same as `darkroom`, where no script of that name is installed."""

from cli.main import app

app(prog_name="darkroom")
