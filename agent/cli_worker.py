"""`adi worker`: work on the backlogs of a store that several machines share."""

import sys
from typing import Annotated, Any

import typer

from agent.errors import EnvironmentMissing, UsageError


def worker(
    backlog: Annotated[
        str | None, typer.Option("--backlog", help="Only this one; default: all of the store.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Items at once.")] = 1,
    one_per_repo: Annotated[
        bool, typer.Option("--one-per-repo", help="One item of a repository at a time, on all machines.")
    ] = False,
    branches: Annotated[
        bool, typer.Option("--branches", help="Make a branch adi/backlog/KEY of each change.")
    ] = False,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="Leave when nothing waits or runs.")
    ] = False,
    model: Annotated[str | None, typer.Option("--model", help="Model by name.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="OpenAI-compatible server to ask.")] = None,
) -> None:
    """Take items of the shared store's backlogs (memory.url) as they come, until Ctrl-C drains."""
    from agent.backlog_flow import look
    from agent.backlog_run import Orders
    from agent.display import make_console
    from agent.display_board import line_of
    from agent.display_wrap import print_line
    from agent.settings import directories, load, store_place
    from memory.backlog import Backlog
    from memory.store import Store

    flags: dict[str, dict[str, Any]] = {"model": {"name": model, "url": url}}
    settings = load(None, flags).settings
    place = store_place(settings)
    if not isinstance(place, str) or not place.startswith("postgresql"):
        raise UsageError(
            "workers on several machines need a store on Postgres",
            "set ADI_MEMORY__URL=postgresql://..., or on one machine: adi backlog run SOURCE --jobs N",
        )
    try:
        from agent.backlog_dispatch import Crew
    except ModuleNotFoundError as missing:
        raise EnvironmentMissing(
            f"the queue of several machines is not installed: {missing.name}",
            "pip install 'adi-agent[postgres]'",
        ) from None
    with Store.open(place) as store:
        only = Backlog.find(store, backlog).id if backlog else ""
    look(settings)
    console = make_console(sys.stderr, settings.ui.color)

    def tell(told: Any) -> None:
        if text := line_of(told):
            print_line(console, text)

    orders = Orders(jobs=jobs, one_per_repo=one_per_repo, branches=branches, flags=flags)
    crew = Crew(place, orders, directories().logs / "backlog", tell, only=only, until_done=until_done)
    raise typer.Exit(crew.run())
