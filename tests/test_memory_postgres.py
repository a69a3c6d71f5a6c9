"""The store on a real Postgres server: what differs from a file, and what must not."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlmodel import col

from memory import errors, holders, migrate
from memory.postgres import LOCK, Postgres
from memory.process import host
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Noted,
    Observation,
    RunEnded,
    Status,
    Stop,
    Task,
)
from memory.store import Store
from memory.tables import AnyJson, ClaimRow, EventRow, LessonRow, RunRow, Table
from tests.postgres_kit import Server
from tests.store_kit import NEXT_HEAD, TASK, anything, as_stored, json_values, scripts, start

pytestmark = pytest.mark.postgres

UPGRADE = """
import sys
from pathlib import Path
from memory.migrate import HEAD
from memory.postgres import Postgres
Postgres(sys.argv[1], scripts=Path(sys.argv[2]), head=HEAD + 1).close()
print("done")
"""


@pytest.fixture
def store(postgres: str) -> Iterator[Store]:
    with Store.open(postgres) as opened:
        yield opened


def ask(store: Store, query: str) -> list[tuple[object, ...]]:
    with store.reading() as session:
        return [tuple(row) for row in session.connection().exec_driver_sql(query)]


def test_the_scripts_make_the_tables_that_the_program_uses(store: Store) -> None:
    with store._backend.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


@given(text=anything, path=anything, arguments=st.dictionaries(anything, json_values, max_size=3))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # one store for all examples: runs do not meet
def test_any_text_survives(store: Store, text: str, path: str, arguments: dict[str, object]) -> None:
    run_id = store.start_run(Task(id="t", prompt=text, repo=path))
    action = ActionStarted(step=1, action=Action(id="a", tool=text, arguments=arguments))
    store.append(run_id, action)
    _, acted = store.events(run_id)
    assert acted.payload.model_dump() == as_stored(action.model_dump())
    assert run_id in {run.id for run in store.runs(path, limit=0)}


@pytest.mark.parametrize(
    "content",
    [
        {"a": "\x00", "b": "\ud800 \U0001f600"},
        {"\x00": [1, {"\udcff": None}]},
        {"n": math.inf, "m": -math.inf},
        {AnyJson.ESCAPED: "plain"},
        {AnyJson.ESCAPED: '{"a": 1}'},
        {"plain": [1, 2.5, "ü", True, None]},
    ],
)
def test_any_json_comes_back_and_the_server_can_look_into_it(
    store: Store, content: dict[str, object]
) -> None:
    row = LessonRow(
        id="l", key="k", kind="fact", place="", scope="everywhere", claim="c", subject="", words="",
        content=content, author="code", status="trial", created="", changed="",
    )  # fmt: skip
    with store.writing() as session:
        session.add(row)
    with store.reading() as session:
        assert session.get_one(LessonRow, "l").content == content
    # json accepts some texts that its operators then refuse: each key must be readable
    assert len(ask(store, "SELECT found.* FROM lesson, json_each_text(content) AS found")) >= 1


def test_what_sqlite_stores_is_the_json_of_python(tmp_path: Path) -> None:
    content = {"a": "\x00\ud800ü", AnyJson.ESCAPED: math.inf}
    with Store.open(tmp_path / "adi.db") as store:
        run_id = store.start_run(TASK)
        store.append(run_id, ActionStarted(step=1, action=Action(id="a", tool="t", arguments=content)))
        ((payload,),) = ask(store, "SELECT payload FROM event WHERE seq = 2")
    assert f'"arguments": {json.dumps(content)}' in str(payload)


def test_a_process_of_another_machine_holds_its_repository_for_a_day(store: Store) -> None:
    theirs, mine = store.start_run(TASK), store.start_run(TASK)
    with store.writing() as session:
        session.add(ClaimRow(repo="/r", run_id=theirs, pid=7, process="boot:1@laptop-0a1b", at=""))
        session.execute(update(RunRow).where(col(RunRow.id) == theirs).values(process="boot:1@laptop-0a1b"))
    with pytest.raises(errors.RepoBusy, match="process 7 on laptop-0a1b"):
        store.claim_repo("/r", mine)
    assert store.run(theirs).alive
    long_ago = datetime.now(UTC) - timedelta(seconds=holders.LEASE_S + 60)
    with store.writing() as session:
        session.execute(
            update(EventRow).where(col(EventRow.run_id) == theirs).values(at=long_ago.isoformat())
        )
    assert not store.run(theirs).alive
    store.claim_repo("/r", mine)


def test_the_identity_tells_the_machine(store: Store, tmp_path: Path) -> None:
    run_id = store.start_run(TASK)
    assert store.run(run_id).alive
    with store.reading() as session:
        assert session.get_one(RunRow, run_id).process.endswith(f"@{host()}")
    with Store.open(tmp_path / "adi.db") as local, local.reading() as session:
        assert "@" not in session.get_one(RunRow, local.start_run(TASK)).process


def test_a_server_that_goes_away_is_named_and_found_again(postgres_server: Server, postgres: str) -> None:
    secret = postgres.replace("adi@", "adi:topsecret@")
    with Store.open(secret) as store:
        run_id = store.start_run(TASK)
        postgres_server.stop(signal.SIGQUIT)
        try:
            for call in (lambda: store.append(run_id, Noted(text="x")), lambda: Store.open(secret)):
                with pytest.raises(
                    errors.StoreUnavailable, match=r"the store test\d+ on 127.0.0.1 does"
                ) as away:
                    call()
                assert "topsecret" not in str(away.value)
                assert "\n" not in str(away.value)
                assert away.value.hint
        finally:
            postgres_server.start()
        assert store.append(run_id, Noted(text="x")).seq == 2
        postgres_server.stop()
        postgres_server.start()
        assert store.append(run_id, Noted(text="nobody noticed")).seq == 3


def test_a_server_that_lets_nobody_in_is_named(postgres_server: Server, postgres: str) -> None:
    for address in (
        postgres_server.address("nothing"),
        postgres.replace("adi@", "nobody:topsecret@"),
        "postgresql://adi@127.0.0.1:port/x",
    ):
        with pytest.raises(errors.StoreUnavailable) as refused:
            Store.open(address)
        assert refused.value.hint
        assert "topsecret" not in str(refused.value)


def test_a_missing_driver_is_named_with_the_command_that_helps() -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from memory.errors import StoreUnavailable\nfrom memory.store import Store\n"
        "try: Store.open('postgresql://adi:topsecret@127.0.0.1/adi')\n"
        "except StoreUnavailable as error: print(error, '|', error.hint)"
    )
    child = start(script)
    output, _ = child.communicate()
    assert "needs the driver of Postgres, psycopg | pip install 'adi-agent[postgres]'" in output
    assert "topsecret" not in output


def test_a_role_that_may_not_write_and_a_lock_that_is_held_are_named(
    postgres_server: Server, postgres: str
) -> None:
    with Store.open(postgres) as store:
        run_id = store.start_run(TASK)
        database = postgres.rpartition("/")[2]
        postgres_server.run("DROP ROLE IF EXISTS reader")
        postgres_server.run("CREATE ROLE reader LOGIN IN ROLE pg_read_all_data")
        with Store.open(postgres.replace("adi@", "reader@")) as reader:
            assert len(reader.runs()) == 1
            with pytest.raises(errors.StoreReadOnly, match=database):
                reader.append(run_id, Noted(text="x"))
        impatient = f"{postgres}?options=-c lock_timeout=200ms"
        with Store.open(impatient) as other, store.writing(), pytest.raises(errors.StoreBusy, match="locked"):
            other.append(run_id, Noted(text="x"))
        assert ask(store, f"SELECT count(*) FROM pg_locks WHERE objid = {LOCK}") == [(0,)]


def test_a_database_of_another_program_is_refused_and_kept(postgres_server: Server) -> None:
    for statement in (
        "CREATE TABLE run (id text)",
        "CREATE TABLE alembic_version AS SELECT 'ab12' version_num",
    ):
        address = postgres_server.new_database()
        name = address.rpartition("/")[2]
        postgres_server.run(statement, name)
        with pytest.raises(errors.StoreCorrupt, match="another program"):
            Store.open(address)
        tables = postgres_server.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name)
        assert tables == [(1,)]
    postgres_server.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(errors.StoreUnavailable, match="LATIN1"):
        Store.open(postgres_server.address("latin"))


def test_of_two_processes_that_upgrade_one_waits_and_an_old_program_refuses(
    tmp_path: Path, postgres: str
) -> None:
    with Store.open(postgres) as store:
        run_id = store.start_run(TASK)
    slow = scripts(tmp_path, "__import__('time').sleep(0.5)")
    children = [start(UPGRADE, postgres, str(slow)) for _ in range(2)]
    assert [child.communicate()[0] for child in children] == ["done\n", "done\n"]
    with pytest.raises(errors.SchemaTooNew, match="upgrade ADI"):
        Store.open(postgres)
    with Store(Postgres(postgres, scripts=slow, head=NEXT_HEAD)) as store:
        assert ask(store, "SELECT id, team FROM run") == [(run_id, "us")]


@pytest.mark.parametrize("then", ["os.kill(os.getpid(), 9)", "raise RuntimeError('no')"])
def test_an_upgrade_that_dies_changes_nothing(tmp_path: Path, postgres: str, then: str) -> None:
    with Store.open(postgres) as store:
        run_id = store.start_run(TASK)
    with start(UPGRADE, postgres, str(scripts(tmp_path, then))) as child:
        child.communicate()
    assert child.returncode != 0
    with Store.open(postgres) as store:
        assert store.append(run_id, Noted(text="works")).seq == 2
        assert ask(store, "SELECT version_num FROM alembic_version") == [(f"{migrate.HEAD:04}",)]


def test_a_process_that_dies_in_a_transaction_leaves_nothing(store: Store, postgres: str) -> None:
    script = (
        "import os, sys\nfrom memory.store import Store\nfrom memory.records import Task\n"
        "with Store.open(sys.argv[1]) as store, store.writing() as session:\n"
        "    from memory.tables import TombstoneRow\n"
        "    session.add(TombstoneRow(id='t', kind='run', at='', reason='', removed={})); session.flush()\n"
        "    os.kill(os.getpid(), 9)"
    )
    with start(script, postgres) as child:
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    run_id = store.start_run(TASK)  # its lock went with it
    store.append(run_id, ActionEnded(step=1, observation=Observation(action_id="a", status=Status.OK)))
    store.append(run_id, RunEnded(stop=Stop.FAILED, exit_code=3))
    assert ask(store, "SELECT count(*) FROM tombstone") == [(0,)]


def test_the_server_of_the_tests_ends_with_them(tmp_path: Path) -> None:
    """A test run that is killed leaves no server behind."""
    script = (
        "import os, sys; from tests.postgres_kit import Server\n"
        "server = Server(); server.start(); print(server._process.pid, server._folder, flush=True)\n"
        "sys.stdin.readline()"
    )
    with start(script) as child:
        assert child.stdout is not None
        pid, folder = child.stdout.readline().split()
        server = os.pidfd_open(int(pid))
        child.kill()
    try:
        import select as io

        assert io.select([server], [], [], 30)[0], "the server outlives the tests"
    finally:
        os.close(server)
        subprocess.run(["rm", "-rf", folder], check=True)
    assert sys.platform == "linux"
    assert list(tmp_path.iterdir()) == []
