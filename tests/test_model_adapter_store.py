"""The store of adapters: immutable, named by content, one pointer; and what it refuses to take in."""

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.adapter_add import add
from model.adapter_store import CONFIG, GGUF, MANIFEST, STATE, WEIGHTS, AdapterStore
from model.errors import AdapterDamaged, AdapterRefused, ModelError, NoSpace, UnknownAdapter
from tests.adapter_kit import FAMILY, Home


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Path]:
    """A home and a trained folder that tests copy from."""
    home = Home(tmp_path_factory.mktemp("home"))
    return home, home.trained()


@pytest.fixture
def home(tmp_path: Path, shared: tuple[Home, Path]) -> Home:
    """One with a store of its own; the base's weights and their converted form are shared."""
    made = Home(tmp_path / "own")
    made.weights, made.cache = shared[0].weights, shared[0].cache
    return made


@pytest.fixture
def folder(tmp_path: Path, shared: tuple[Home, Path]) -> Path:
    copied = tmp_path / "trained"
    shutil.copytree(shared[1], copied)
    return copied


def edit(folder: Path, **fields: object) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


def test_an_adapter_is_named_by_its_content_and_carries_where_it_comes_from(home: Home, folder: Path) -> None:
    made = home.add(folder, rows=("r-1", "r-2"), dataset_sha256="d" * 64, settings={"rank": 4}, parent="p")
    assert made.name.startswith(f"{FAMILY}-")
    assert len(made.name) == len(FAMILY) + 13
    assert home.store.names() == [made.name]
    assert home.store.check(made.name) == made
    assert (made.rank, made.rows, made.settings["rank"], made.parent) == (4, ("r-1", "r-2"), 4, "p")
    assert made.base == home.base
    path = home.store.path(made.name)
    assert sorted(file.name for file in path.iterdir()) == sorted((CONFIG, WEIGHTS, GGUF, MANIFEST))
    assert json.loads((path / CONFIG).read_text())["base_model_name_or_path"] == home.weights.stem
    assert str(home.data) not in (path / CONFIG).read_text() + (path / MANIFEST).read_text()
    assert home.add(folder) == made  # the same bytes are the same adapter
    assert sorted(file.name for file in home.store.folder.iterdir()) == [".lock", made.name]
    other = dict(load_file(folder / WEIGHTS))
    save_file({key: tensor * 1.01 for key, tensor in other.items()}, folder / WEIGHTS)
    assert home.add(folder).name != made.name


def test_changed_bytes_are_found_at_loading(home: Home, folder: Path) -> None:
    name = home.add(folder).name
    path = home.store.path(name)
    for file in (WEIGHTS, CONFIG, GGUF):
        target = path / file
        before = target.read_bytes()
        target.chmod(0o600)
        target.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(AdapterDamaged, match=file) as caught:
            home.store.check(name)
        assert f"adi model retire {name}" in caught.value.hint
        target.write_bytes(before)
        home.store.check(name)
    (path / "more.py").write_text("")
    with pytest.raises(AdapterDamaged, match="its files are"):
        home.store.check(name)
    (path / "more.py").unlink()
    (path / MANIFEST).chmod(0o600)
    told = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(told | {"files": told["files"] | {CONFIG: "0" * 64}}))
    with pytest.raises(AdapterDamaged):
        home.store.check(name)
    (path / MANIFEST).write_text("{")
    with pytest.raises(AdapterDamaged, match="cannot be read"):
        home.store.get(name)
    home.store.retire(name, "damaged")
    assert home.store.names() == []


def test_whoever_renames_an_adapter_is_found_out(home: Home, folder: Path) -> None:
    name = home.add(folder).name
    home.store.path(name).rename(home.store.folder / "other-0123456789ab")
    with pytest.raises(AdapterDamaged, match="its manifest says"):
        home.store.check("other-0123456789ab")


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ("pickle", "is a pickle"),
        ("code", "is code, which is never run"),
        ("cut", "no whole safetensors file"),
        ("rank", "lora_B"),
        ("absent", "holds no adapter_model.safetensors"),
        ("config", "cannot be read"),
        ("link", "is a link"),
        ("nan", "not finite"),
        ("zero", "all its lora_B are zero"),
        ("dora", "asks for use_dora"),
        ("alpha", "lora_alpha"),
        ("named", "was made for meta/llama-7b"),
        ("nothing", "is no folder"),
    ],
)
def test_what_is_no_plain_adapter_of_this_base_is_refused(
    home: Home, folder: Path, tmp_path: Path, harm: str, why: str
) -> None:
    weights = folder / WEIGHTS
    tensors = dict(load_file(weights))
    if harm == "pickle":
        torch.save({}, folder / "optimizer.pt")
    elif harm == "code":
        (folder / "modeling.py").write_text("boom = 1")
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "rank":
        key = next(key for key in tensors if ".lora_B." in key)
        save_file(tensors | {key: tensors[key][:, :2].contiguous()}, weights)
    elif harm == "absent":
        weights.unlink()
    elif harm == "config":
        (folder / CONFIG).write_text("{")
    elif harm == "link":
        weights.rename(tmp_path / "elsewhere")
        weights.symlink_to(tmp_path / "elsewhere")
    elif harm == "nan":
        key = next(iter(tensors))
        save_file(tensors | {key: tensors[key] * float("nan")}, weights)
    elif harm == "zero":
        save_file({k: t * (".lora_A." in k) for k, t in tensors.items()}, weights)
    elif harm == "dora":
        edit(folder, use_dora=True)
    elif harm == "alpha":
        edit(folder, lora_alpha=0)
    elif harm == "named":
        edit(folder, base_model_name_or_path="meta/llama-7b")
    else:
        shutil.rmtree(folder)
    with pytest.raises(AdapterRefused, match=why):
        home.add(folder)
    assert not home.store.folder.exists() or not [*home.store.folder.iterdir()]


def test_an_adapter_for_another_base_is_refused_with_both_named(
    home: Home, folder: Path, tmp_path: Path
) -> None:
    made = home.add(folder)
    other = Home(tmp_path / "other", seed=5)
    assert other.base.sha256 != made.base.sha256
    with pytest.raises(AdapterRefused) as caught:
        home.store.fitting(made.name, other.base)
    for base in (made.base, other.base):
        assert f"{base.name} ({base.sha256[:12]})" in caught.value.message
    with pytest.raises(AdapterRefused, match="is not the base"):
        add(home.store, folder, made.base, other.weights, cache=other.cache)


@pytest.mark.parametrize("name", ["../up", "/etc", "", ".", "..", ".new-1", "a/b", "no-such-adapter", "a\0b"])
def test_names_lead_nowhere_else(home: Home, folder: Path, name: str) -> None:
    home.add(folder)
    for ask in (home.store.get, home.store.check, home.store.promote, home.store.path):
        with pytest.raises(UnknownAdapter):
            ask(name)
    with pytest.raises(UnknownAdapter):
        home.store.retire(name, "")


def test_a_full_disk_leaves_nothing(home: Home, folder: Path) -> None:
    with pytest.raises(NoSpace, match="free"):
        add(home.store, folder, home.base, home.weights, cache=home.cache, free=lambda _: 1000)
    assert [*home.store.folder.iterdir()] == []
    home.store.folder.rmdir()
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    state = AdapterStore(home.data / "full")
    state.folder.mkdir()
    name = home.add(folder).name
    shutil.copytree(home.store.path(name), state.folder / name)
    state.judge(name, "PROMOTE")
    before = (state.folder / STATE).read_bytes()
    (state.folder / f".{STATE}.{multiprocessing.current_process().pid}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        state.promote(name)
    assert (state.folder / STATE).read_bytes() == before


def test_the_pointer_moves_on_the_gates_word_or_with_a_reason(home: Home, folder: Path) -> None:
    store, base = home.store, home.base.sha256
    one = home.add(folder).name
    two = home.add(home.trained(seed=2)).name
    assert store.current(base) == ""
    with pytest.raises(AdapterRefused, match="has not judged it") as caught:
        store.promote(one)
    assert "--force REASON" in caught.value.hint
    store.judge(one, "CANNOT TELL", report="g-1")
    with pytest.raises(AdapterRefused, match="the gate said CANNOT TELL"):
        store.promote(one)
    with pytest.raises(AdapterRefused, match="needs a reason"):
        store.promote(one, force=True, reason=" ")
    forced = store.promote(one, force=True, reason="a try")
    assert (forced.forced, forced.verdict, forced.reason, forced.before) == (True, "CANNOT TELL", "a try", "")
    assert store.promote(one, force=True, reason="again") == forced  # it is served: nothing is written
    store.judge(two, "PROMOTE", report="g-2", report_sha256="a" * 64)
    made = store.promote(two)
    assert (made.forced, made.before, store.current(base)) == (False, one, two)
    assert store.current("0" * 64) == ""
    assert store.rollback(base, reason="worse").adapter == one
    assert store.rollback(base).adapter == ""
    with pytest.raises(AdapterRefused, match="nothing to roll back"):
        store.rollback(base)
    assert [change.action for change in store.history()] == ["promote", "promote", "rollback", "rollback"]
    word = store.verdict(two)
    assert word is not None
    assert word.report == "g-2"


def test_what_is_not_ready_moves_no_pointer(home: Home, folder: Path) -> None:
    name = home.add(folder).name

    def never(*_: object) -> None:
        raise ModelError("the server does not take it")

    with pytest.raises(ModelError, match="does not take it"):
        home.store.promote(name, force=True, reason="r", ready=never)
    assert home.store.history() == ()
    home.store.promote(name, force=True, reason="r")
    with pytest.raises(ModelError, match="does not take it"):
        home.store.rollback(home.base.sha256, ready=never)
    assert home.store.current(home.base.sha256) == name


def test_forgetting_a_row_names_the_adapters_and_retiring_serves_the_one_before(
    home: Home, folder: Path
) -> None:
    one = home.add(folder, rows=("r-1", "r-2")).name
    two = home.add(home.trained(seed=2), rows=("r-2", "r-3")).name
    assert home.store.holding(["r-1"]) == [one]
    assert home.store.holding({"r-2"}) == sorted((one, two))
    assert home.store.holding(["r-9"]) == []
    for name in (one, two):
        home.store.promote(name, force=True, reason="r")
    home.store.retire(two, "a row was forgotten")
    assert (home.store.current(home.base.sha256), home.store.names()) == (one, [one])
    home.store.retire(one, "a row was forgotten")
    assert (home.store.current(home.base.sha256), home.store.names()) == ("", [])


def test_a_state_that_cannot_be_read_is_an_error_and_not_the_base(home: Home) -> None:
    home.store.folder.mkdir()
    (home.store.folder / STATE).write_text("[]")
    with pytest.raises(AdapterDamaged, match="nobody knows which adapter is served"):
        home.store.current(home.base.sha256)


def _judge(folder: Path, name: str, count: int) -> None:
    for number in range(count):
        AdapterStore(folder).judge(name, "REJECT", report=str(number))


def test_processes_that_write_at_once_lose_nothing(home: Home, folder: Path) -> None:
    name = home.add(folder).name
    start = multiprocessing.get_context("fork")
    writers = [start.Process(target=_judge, args=(home.store.folder, name, 10)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    told = json.loads((home.store.folder / STATE).read_text())
    assert len(told["judged"]) == 30
