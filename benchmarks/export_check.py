"""Whether a data set is what trainers take: loaded by `datasets` by name, then given to TRL's own trainers.

    python -m benchmarks.export_check FOLDER

Needs `datasets`, `trl`, `transformers` and `torch` (CPU is enough). A trainer checks the columns of its data
set and prepares every row when it is made; then one step is trained, so that rows which only look right are
found. The model is a random one of two layers, with a byte-level vocabulary and a chat template like Qwen's.
"""

import sys
import tempfile
from collections.abc import Callable
from typing import Any, Final

import datasets
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}\n<tool_call>{{ call.function.name }} "
    "{{ call.function.arguments }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COMMON: Final = {
    "use_cpu": True,
    "bf16": False,
    "max_steps": 1,
    "report_to": "none",
    "per_device_train_batch_size": 2,
    "max_length": 2048,
}
ROWS: Final = 16
"""Rows that a trainer is given."""
QWEN: Final = 151_936
"""Size of the vocabulary that ready-made ids are of."""


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and the control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={sign: number for number, sign in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|pad|>", chat_template=TEMPLATE
    )
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    return made


def model(size: int) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2,
    )  # fmt: skip
    return Qwen2ForCausalLM(config)


def trainers(words: PreTrainedTokenizerFast, out: str) -> dict[str, Callable[[Any], Any]]:
    """Configuration -> what makes its trainer of rows."""

    def made(kind: Any, config: Any, size: int, *, reference: bool = False) -> Callable[[Any], Any]:
        more = {"ref_model": model(size)} if reference else {}
        return lambda rows: kind(
            model(size), args=config(out, **COMMON), train_dataset=rows, processing_class=words, **more
        )

    own = len(words)
    sft = made(SFTTrainer, SFTConfig, own)
    dpo = made(DPOTrainer, DPOConfig, own, reference=True)
    kto = made(KTOTrainer, KTOConfig, own, reference=True)
    return {
        **dict.fromkeys(("sft", "prompt_completion", "infill"), sft),
        "pretokenised": made(SFTTrainer, SFTConfig, QWEN),
        **dict.fromkeys(("preference", "infill_preference"), dpo),
        **dict.fromkeys(("unpaired", "infill_unpaired"), kto),
    }


def main(folder: str) -> int:
    """Exit code 1 when a configuration is refused."""
    names, refused = datasets.get_dataset_config_names(folder), 0
    with tempfile.TemporaryDirectory() as out:
        makers = trainers(tokenizer(), out)
        for name in names:
            loaded = datasets.load_dataset(folder, name, cache_dir=f"{out}/cache")
            said = (
                f"{name}: loaded ({', '.join(f'{split} {rows.num_rows}' for split, rows in loaded.items())})"
            )
            if name in makers:
                rows = loaded["train"].select(range(min(ROWS, loaded["train"].num_rows)))
                try:
                    trainer = makers[name](rows)
                    loss = trainer.train().training_loss
                    said += f"; {type(trainer).__name__} took {rows.num_rows} rows, loss {loss:.3f}"
                except Exception as error:  # noqa: BLE001 - whatever a trainer raises is the finding
                    refused += 1
                    said += f"; refused: {type(error).__name__}: {error}"
            sys.stdout.write(f"{said}\n")
    sys.stdout.write(f"{len(names)} configurations, {refused} refused\n")
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
