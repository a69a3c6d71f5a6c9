"""The columns that every row has: where it comes from, who may use it, and what became of the run.

Values that have keys are JSON strings, which Arrow keeps as they are: as structs it would add every key of
every row to each. Absent texts are empty; absent numbers and truth values are null.
"""

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from feedback.candidate import Candidate
from feedback.format_text import digest, line, plain
from feedback.harvest import Call, Harvest
from feedback.hunks import regions
from memory.records import RunEnded
from model.catalogue import Catalogue

if TYPE_CHECKING:
    from feedback.format_base import Context

COLUMNS: Final = {
    "record_id": "text", "instance_id": "text", "problem_statement": "text", "repo": "text",
    "license": "text", "license_source": "text", "license_permissive": "bool", "model_output_license": "text",
    "language": "text", "trajectory_id": "text",
    "session_id": "text", "step_id": "text", "parent_id": "text", "created_at": "text", "adi_version": "text",
    "model_id": "text", "model_revision": "text", "quantization": "text", "adapter_ids": "texts",
    "sampling": "text", "prompt_template_hash": "text", "tool_schema_hash": "text", "base_commit": "text",
    "container_digest": "text", "is_copied_context": "bool", "outcome": "text", "exit_status": "text",
    "resolved": "int", "label": "text", "label_why": "text", "hack_flags": "texts", "reward": "float",
    "reward_components": "text", "tests_passed": "int", "tests_failed": "int", "evaluator_id": "text",
    "evaluator_version": "text", "human_action": "text", "edit_distance": "int", "final_patch": "text",
    "time_to_accept_s": "float", "comment": "text", "preference_source": "text", "consent": "text",
    "synthetic": "bool", "dataset": "text", "split": "text",
}  # fmt: skip
"""Names in the order of the file, and kinds. `step_id` is the number of the event that holds the completion,
`parent_id` that of the one before it in the same conversation; both empty where a row is a whole run.
`resolved` is 1 or 0 where tests ran, else -1. `edit_distance` is in lines of the diff."""
EVALUATOR: Final = "adi-verdict"
_QUANTIZATION: Final = re.compile(r"(?<![a-z0-9])(i?q\d\w*|[bf]f?(?:16|32)|fp?8)(?![a-z0-9])", re.IGNORECASE)
_LANGUAGES: Final = {
    "Python": ("py", "pyi"), "JavaScript": ("js", "cjs", "mjs", "jsx"),
    "TypeScript": ("ts", "cts", "mts", "tsx"), "Java": ("java",), "C": ("c", "h"),
    "C++": ("cc", "cpp", "cxx", "hh", "hpp"), "Rust": ("rs",), "Go": ("go",), "PHP": ("php",),
    "Shell": ("sh", "bash"), "Ruby": ("rb",), "Lua": ("lua",), "Perl": ("pl", "pm"),
}  # fmt: skip
_BY_SUFFIX: Final = {f".{suffix}": name for name, suffixes in _LANGUAGES.items() for suffix in suffixes}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model; empty where it is not."""

    licence: str = ""
    """SPDX name of its terms, which its answers may be under too."""
    revision: str = ""
    """SHA-256 of its file, or a revision that its server tells."""
    quantization: str = ""
    adapters: tuple[str, ...] = ()


def facts(catalogue: Catalogue) -> dict[str, ModelFacts]:
    """What a catalogue knows of its models, by their names and those of their files."""
    found = dict[str, ModelFacts]()
    for name, entry in catalogue.models.items():
        told = _QUANTIZATION.search(entry.file or entry.title)
        quantization = told[1].upper() if told else ""
        known = ModelFacts(entry.licence, entry.sha256, quantization)
        found |= {name: known, entry.file or name: known}
    return found


def types() -> list[tuple[str, Any]]:
    """Names and Arrow types, in their order."""
    import pyarrow

    kinds = {
        "text": pyarrow.string(),
        "texts": pyarrow.list_(pyarrow.string()),
        "bool": pyarrow.bool_(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
    }
    return [(name, kinds[kind]) for name, kind in COLUMNS.items()]


def common(candidate: Candidate, context: "Context") -> dict[str, Any]:
    """The columns as far as they are the same for every row of a run; `record_id` and `split` are empty."""
    harvest = candidate.harvest
    row = dict.fromkeys(COLUMNS, "") | {"is_copied_context": False}
    row |= _origin(candidate, context) | _outcome(harvest) | _judged(candidate)
    answered = harvest.calls[-1] if harvest.calls else None
    if answered is not None:
        row |= of_call(answered, candidate, context) | {"step_id": "", "sampling": ""}
    else:
        row |= _of_model(harvest.started.model, "", context)
    return row


def of_call(call: Call, candidate: Candidate, context: "Context") -> dict[str, Any]:
    """The columns that belong to one call of the model."""
    told = call.completion
    model = told.model or candidate.harvest.started.model
    return {
        "step_id": str(call.seq),
        "sampling": line({"temperature": told.temperature, "seed": told.seed}),
        **_of_model(model, told.weights, context),
    }


def _of_model(model: str, weights: str, context: "Context") -> dict[str, Any]:
    by_file = context.models.get(PurePosixPath(model).name, ModelFacts())  # some servers tell a path
    known = context.models.get(model, by_file)
    return {
        "model_id": model,
        "model_revision": known.revision or weights,
        "quantization": known.quantization,
        "adapter_ids": [*known.adapters],
        "model_output_license": known.licence,
    }


def _origin(candidate: Candidate, context: "Context") -> dict[str, Any]:
    harvest, licence = candidate.harvest, candidate.licence
    task = harvest.task
    return {
        "instance_id": task.id,
        "problem_statement": task.prompt,
        "repo": harvest.repository,
        "license": licence.spdx,
        "license_source": licence.source,
        "license_permissive": licence.permissive,
        "language": language(harvest.diff),
        "trajectory_id": harvest.run_id,
        "session_id": harvest.session_id,
        "created_at": harvest.created_at,
        "adi_version": harvest.started.adi_version,
        "prompt_template_hash": digest(context.tokens.template) if context.tokens else "",
        "tool_schema_hash": digest(plain(context.tools)) if context.tools else "",
        "base_commit": task.base_commit,
        "container_digest": task.image,
        "consent": line(plain(candidate.permission.model_dump())),
        "synthetic": candidate.id in context.synthetic or harvest.synthetic,
        "dataset": context.dataset,
    }


def _outcome(harvest: Harvest) -> dict[str, Any]:
    ended = next((e.payload for e in reversed(harvest.events) if isinstance(e.payload, RunEnded)), None)
    verdict = harvest.evaluation
    results = verdict.results if verdict else ()
    passed = sum(result.tests_passed for result in results)
    failed = sum(result.tests_failed for result in results)
    return {
        "outcome": harvest.stop.value if harvest.stop else "",
        "exit_status": str(ended.exit_code) if ended else "",
        "resolved": int(verdict.accepted) if verdict and passed + failed else -1,
        "tests_passed": passed if verdict else None,
        "tests_failed": failed if verdict else None,
        "evaluator_id": EVALUATOR if verdict else "",
        "evaluator_version": harvest.started.adi_version if verdict else "",
        "final_patch": harvest.diff,
    }


def _judged(candidate: Candidate) -> dict[str, Any]:
    harvest, label = candidate.harvest, candidate.label
    seen = harvest.human != "none"
    return {
        "label": label.grade,
        "label_why": label.why,
        "hack_flags": [f"{flag.rule}: {flag.where}" for flag in label.flags],
        "reward": label.reward,
        "reward_components": line(plain(label.components), by_key=True),
        "human_action": harvest.human,
        "edit_distance": edit_distance(*(harvest.edited or ("", ""))) if seen else None,
        "time_to_accept_s": harvest.decided_s if seen else None,
        "comment": harvest.comment,
    }


def language(diff: str) -> str:
    """The language that most changed lines are in, by the endings of files; empty when it is not known."""
    lines = Counter[str]()
    for region in regions(diff):
        if name := _BY_SUFFIX.get(PurePosixPath(region.path).suffix.lower()):
            lines[name] += len(region.gone) + len(region.come)
    return min(lines, key=lambda name: (-lines[name], name), default="")


def edit_distance(before: str, after: str) -> int:
    """Changed lines of one diff that the other does not have at the same place: gone and come, both count."""
    first, second = _changed(before), _changed(after)
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return len(first) + len(second) - 2 * sum(block.size for block in blocks)


def _changed(diff: str) -> list[tuple[str, str, str]]:
    """Path, sign and text of each changed line."""
    return [
        (region.path, sign, text)
        for region in regions(diff)
        for sign, side in (("-", region.gone), ("+", region.come))
        for text in side
    ]
