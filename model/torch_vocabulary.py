"""Byte-level vocabularies written as the two files that transformers reads.

Texts are cut, mapped to the letters that stand for bytes, and merged; nothing is normalised, so that ids
stand for the very bytes of a file, as they do in llama.cpp.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

CUTS = {
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "llama-bpe": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
"""How texts are cut before merging, by the name a GGUF file gives it; published with the tokenizers."""


@dataclass(frozen=True, slots=True)
class Letters:
    """A byte-level vocabulary."""

    tokens: Sequence[str]
    """By id; ordinary tokens in byte letters, the others as they are."""
    merges: Sequence[tuple[str, str]]
    cut: str
    """A key of CUTS."""
    control: Sequence[str]
    """Tokens that no text becomes."""
    added: Sequence[str] = ()
    """Tokens that are found in a text before it is cut."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Such as eos_token -> `<|im_end|>`; a bos_token is put before each text."""
    template: str = ""
    """The chat template, empty when there is none."""


def write(folder: Path, letters: Letters, n_ctx: int) -> None:
    """Writes tokenizer.json and tokenizer_config.json into the folder; `n_ctx` in tokens."""
    vocabulary = {token: index for index, token in enumerate(letters.tokens)}
    whole = letters.cut == "llama-bpe"  # a word that is a token is not merged
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=list(letters.merges), ignore_merges=whole))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CUTS[letters.cut]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    inner.add_tokens([AddedToken(token, normalized=False) for token in letters.added])
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in letters.control])
    if begin := letters.roles.get("bos_token"):
        inner.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A $B", special_tokens=[(begin, vocabulary[begin])]
        )
    inner.save(str(folder / "tokenizer.json"))
    told: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": n_ctx,
        "clean_up_tokenization_spaces": False,
        **letters.roles,
    }
    if letters.template:
        told["chat_template"] = letters.template
    (folder / "tokenizer_config.json").write_text(json.dumps(told, indent=1), "utf-8")
