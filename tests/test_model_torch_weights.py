"""Weights for engine torch: folders, GGUF files and published MPT layouts, whole, rounded, or refused."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from memory.records import Message
from model import tiny
from model.connect import ModelChoice, connect
from model.errors import ModelError, ModelMissing
from model.protocol import Sampling
from model.server import stop
from model.tiny_torch import write_tiny_torch
from model.torch_weights import Loaded, Quantize, load
from model.vocabulary import Vocabulary

torch.set_num_threads(1)
SAID = "def f(x):\n    return 'naïve' + x  # <|im_end|> 🎉 e\u0301\n\n\n\t1234 it's"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.gguf, qwen2/, mpt/ and cache/."""
    home = tmp_path_factory.mktemp("weights")
    tiny.write_tiny(home / "tiny.gguf")
    write_tiny_torch(home / "qwen2")
    write_tiny_torch(home / "mpt", kind="mpt")
    return home


@pytest.fixture
def copy(places: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a folder, to be spoilt."""
    return lambda name: Path(shutil.copytree(places / name, tmp_path / name))


def taken(source: Path, places: Path, quantize: Quantize = "", dtype: str = "auto") -> Loaded:
    return load(source, device="cpu", dtype=dtype, quantize=quantize, cache=places / "cache")


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return found


def written(loaded: Loaded, ids: list[int], count: int) -> list[int]:
    given = torch.tensor([ids])
    mask = torch.ones_like(given)
    answer = loaded.model.generate(given, attention_mask=mask, max_new_tokens=count, do_sample=False)
    return [*map(int, answer[0, len(ids) :])]


def test_a_gguf_file_and_a_folder_of_the_same_weights_are_the_same_model(places: Path) -> None:
    file, folder = taken(places / "tiny.gguf", places), taken(places / "qwen2", places)
    ids = file.tokenizer(SAID)["input_ids"]
    assert ids == folder.tokenizer(SAID)["input_ids"]
    assert torch.equal(logits(file.model, ids), logits(folder.model, ids))
    assert (file.n_ctx, file.ends, file.dtype) == (4096, (261, 263, 267, 268, 269), torch.float32)
    assert (folder.n_ctx, folder.ends) == (file.n_ctx, file.ends)
    assert file.names == ("tiny",)
    assert file.tokenizer.chat_template == tiny.TEMPLATE
    assert not any(weight.requires_grad for weight in file.model.parameters())
    assert not file.model.training


def test_ids_of_a_converted_vocabulary_are_those_of_llama_cpp(places: Path) -> None:
    tokenizer = taken(places / "tiny.gguf", places).tokenizer
    with Vocabulary(places / "tiny.gguf") as other:
        plain = tokenizer(SAID, split_special_tokens=True)["input_ids"]
        assert plain == other.plain(SAID)
        assert tokenizer.decode(plain) == SAID == other.decode(plain)


@pytest.mark.engine
def test_greedy_answers_are_those_of_engine_llama(places: Path, adi_home: Path) -> None:
    loaded = taken(places / "tiny.gguf", places)
    choice = ModelChoice(adi_home, name=str(places / "tiny.gguf"), n_ctx=1024, threads=1, idle_s=60)
    try:
        with closing(connect(choice)) as llama:
            for ask in ("add one", SAID, "x = 1\n" * 30):
                turn = [Message(role="user", content=ask)]
                [answer] = llama.chat(turn, Sampling(max_tokens=24))
                with Vocabulary(places / "tiny.gguf") as other:
                    ids = other.chat(turn)
                own = written(loaded, ids, 24)
                assert own == [*answer.token_ids][: len(own)]
    finally:
        stop(adi_home / "server")


@pytest.mark.parametrize("kind", ["qwen2", "mpt"])
def test_weights_in_fewer_bits_compute_nearly_the_same(places: Path, kind: str) -> None:
    quantize: Quantize = "int8"
    whole, rounded = taken(places / kind, places, dtype="bfloat16"), taken(places / kind, places, quantize)
    ids = [*range(1, 60)]
    a, b = logits(whole.model, ids).float(), logits(rounded.model, ids).float()
    assert torch.nn.functional.cosine_similarity(a, b, dim=-1).mean() > 0.995
    assert not torch.equal(a, b)
    assert rounded.dtype == torch.bfloat16
    assert whole.fingerprint != rounded.fingerprint != taken(places / kind, places).fingerprint
    assert rounded.fingerprint == taken(places / kind, places, quantize).fingerprint


def test_what_is_not_there_or_not_known_is_one_error(places: Path, copy: Callable[[str], Path]) -> None:
    with pytest.raises(ModelMissing):
        taken(places / "none", places)
    with pytest.raises(ModelError, match="no data type of weights"):
        taken(places / "qwen2", places, dtype="int3")
    with pytest.raises(ModelError, match="no device 'gpu9'"):
        load(places / "qwen2", device="gpu9", cache=places / "cache")
    folder = copy("qwen2")
    config = folder / "config.json"
    told = json.loads(config.read_text("utf-8"))
    config.write_text(
        json.dumps(told | {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}), "utf-8"
    )
    (folder / "own.py").write_text("raise SystemExit", "utf-8")
    with pytest.raises(ModelError, match="brings code of its own, which is never run"):
        taken(folder, places)
    more = {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}
    config.write_text(json.dumps(told | more), "utf-8")
    with pytest.raises(ModelError, match=r"are not those of its config\.json"):
        taken(folder, places)
    config.write_text(json.dumps(told | {"num_hidden_layers": 10**9, "layer_types": None}), "utf-8")
    with pytest.raises(ModelError, match="fewer tensors than layers"):
        taken(folder, places)
    config.write_text(json.dumps(told | {"hidden_size": 128}), "utf-8")
    with pytest.raises(ModelError, match="qwen2"):
        taken(folder, places)
    config.write_text("{", "utf-8")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        taken(folder, places)


def test_pickles_and_damaged_safetensors_are_refused(places: Path, copy: Callable[[str], Path]) -> None:
    folder = copy("qwen2")
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for data in (b"", b"\x80\x04", whole[:1000], whole[:-1], b"\xff" * 100):
        file.write_bytes(data)
        with pytest.raises(ModelError, match="no whole safetensors file"):
            taken(folder, places)
    file.rename(folder / "pytorch_model.bin")
    for source in (folder, folder / "pytorch_model.bin"):
        with pytest.raises(ModelError, match="is a pickle"):
            taken(source, places)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}', "utf-8")
    with pytest.raises(ModelError, match="names a file that is not there"):
        taken(folder, places)
    (folder / "tokenizer.json").write_text("{", "utf-8")
    (folder / "model.safetensors.index.json").unlink()
    file.write_bytes(whole)
    with pytest.raises(ModelError, match="no tokenizer that can be read"):
        taken(folder, places)
