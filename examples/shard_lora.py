"""LoRA with the base spread over processes (FSDP2), for a base that does not fit one GPU.

Run: torchrun --nproc-per-node 2 examples/shard_lora.py MODEL ROWS OUT [--epochs 2] [--lr 2e-4] [--rank 16]

MODEL is a folder of safetensors. ROWS is a data set of `adi data export` with the configuration
`pretokenised`: labels of -100 are context. OUT gets the adapter as PEFT writes it; `adi model add OUT --data
ROWS` takes it in, and `adi learn gate NAME` judges it. On CPUs gloo connects the processes, on GPUs nccl.
Each holds its share of every layer, and of each step's rows.
"""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import pad
from transformers import AutoModelForCausalLM


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch", type=int, default=1, help="rows of one process in a step")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    rank, world = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(0)  # the same first adapter everywhere
    base = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    targets = LoraConfig(
        r=given.rank, lora_alpha=2 * given.rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = get_peft_model(base, targets)
    mesh = init_device_mesh(device, (world,))
    for layer in base.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)

    rows = load_dataset(str(given.rows), "pretokenised", split="train").with_format("torch")
    size = given.batch * world
    steps = given.epochs * (len(rows) // size)
    if not steps:
        raise SystemExit(f"{len(rows)} rows are fewer than the {size} of one step")
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=given.lr)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, given.lr, total_steps=steps, pct_start=0.05)
    for epoch in range(given.epochs):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch)).tolist()
        for at in range(0, len(order) - size + 1, size):
            own = [rows[row] for row in order[at + rank : at + size : world]]
            loss = model(**batch(own, device)).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            rate.step()
            if rank == 0:
                print(f"epoch {epoch}, row {at + size} of {len(order)}: loss {loss.item():.3f}")  # noqa: T201
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        model.save_pretrained(given.out, state_dict=whole)
    dist.destroy_process_group()


def batch(rows: list[dict[str, torch.Tensor]], device: str) -> dict[str, torch.Tensor]:
    """Rows filled up to the longest."""
    width = max(len(row["input_ids"]) for row in rows)

    def stacked(name: str, fill: int) -> torch.Tensor:
        return torch.stack([pad(row[name], (0, width - len(row[name])), value=fill) for row in rows]).to(
            device
        )

    ids, labels = stacked("input_ids", 0), stacked("labels", -100)
    mask = torch.stack([torch.arange(width) < len(row["input_ids"]) for row in rows]).to(device)
    return {"input_ids": ids, "labels": labels, "attention_mask": mask.long()}


if __name__ == "__main__":
    main()
