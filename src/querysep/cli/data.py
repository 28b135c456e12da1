"""``querysep data``: examine data sets and pack them into stores."""

import typer

from querysep.cli import data_check, data_pack, data_stats

data = typer.Typer(help="Check, measure and pack data sets.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(data, name="data")
    data.command()(data_check.check)
    data.command()(data_stats.stats)
    data.command()(data_pack.pack)


@data.callback()
def _group() -> None:
    """Check, measure and pack data sets."""
