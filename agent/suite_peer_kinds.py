"""How each outside agent is started without a person: its command line, its files and its variables.

The settings are the agents' own defaults and recommendations for models of this kind; what differs, and why,
is in benchmarks/README.md. Everything runs inside the container (agent/suite_peers.py).
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

PEER: Final = "/peer"
"""Where the agent's own environment is inside the container; read-only."""
GATE: Final = "/gate"
"""Where the attempt's files and the socket are; read-only."""
PORT: Final = 8600
URL: Final = f"http://127.0.0.1:{PORT}/v1"
MESSAGE: Final = f"{GATE}/message.txt"
REPORT: Final = "/tmp/adi-peer.json"
"""Where an agent leaves its own record of the attempt, if it keeps one."""


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt, as an outside agent is told of it."""

    prompt: str
    files: tuple[str, ...]
    """Files that the answer goes into; empty where the agent has to find the place."""
    check: str
    """Command that shows the goal; empty where there is none."""
    check_s: float
    """Seconds that one run of it gets."""
    model: str
    n_ctx: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Kind:
    """One outside agent."""

    package: str
    """Name of what is installed, as the index has it."""
    module: str
    """What Python runs."""
    command: Callable[[Job], str]
    """Its arguments, as shell words."""
    files: Callable[[Job], dict[str, str]]
    """Files that it reads, beside the message."""
    message: Callable[[Job], str]
    """What it is told."""
    variables: Mapping[str, str]
    report: str = ""
    """Python text that prints one JSON object about REPORT: `status`, `actions`, `malformed`."""


_LITELLM: Final = {
    "OPENAI_API_BASE": URL,
    "OPENAI_BASE_URL": URL,
    "OPENAI_API_KEY": "none",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it is fetched
    "LITELLM_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
}


def _aider_command(job: Job) -> str:
    words = [
        *("--model", f"openai/{job.model}", "--edit-format", "whole"),
        *("--model-metadata-file", f"{GATE}/models.json"),
        *("--message-file", MESSAGE, "--yes-always"),
        *("--no-auto-commits", "--no-dirty-commits", "--no-gitignore"),
        *("--no-stream", "--no-pretty", "--no-fancy-input", "--no-suggest-shell-commands"),
        *("--no-show-model-warnings", "--no-check-update", "--no-show-release-notes", "--analytics-disable"),
        *("--no-detect-urls", "--disable-playwright"),
    ]
    if job.check:  # it would wait for ever for a program that does not end
        bounded = f"timeout -k 1 {job.check_s:g} sh -c {shlex.quote(job.check)}"
        words += ["--auto-test", "--test-cmd", bounded]
    return shlex.join([*words, "--", *job.files])


def _aider_files(job: Job) -> dict[str, str]:
    known = {
        "max_input_tokens": job.n_ctx,
        "max_output_tokens": job.max_tokens,
        "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
        "litellm_provider": "openai",
        "mode": "chat",
    }
    return {"models.json": json.dumps({f"openai/{job.model}": known})}


def _mini_command(job: Job) -> str:
    words = ["--model", f"openai/{job.model}", "--model-class", "litellm_textbased"]
    words += ["--config", "mini_textbased.yaml", "--yolo", "--exit-immediately", "--cost-limit", "0"]
    return f'{shlex.join([*words, "--output", REPORT])} --task "$(cat {MESSAGE})"'


def _mini_message(job: Job) -> str:
    told = f"\n\nThe task is done when this command succeeds: {job.check}" if job.check else ""
    return f"{job.prompt}{told}"


_MINI_REPORT: Final = f"""\
import json
try:
    told = json.load(open({REPORT!r}))
    kinds = [message.get("extra", {{}}) for message in told["messages"]]
    print(json.dumps({{
        "status": told["info"]["exit_status"],
        "actions": sum(len(extra.get("actions") or ()) for extra in kinds),
        "malformed": sum(extra.get("interrupt_type") == "FormatError" for extra in kinds),
    }}))
except (OSError, ValueError, KeyError, AttributeError, TypeError):
    print("{{}}")
"""

KINDS: Final[Mapping[str, Kind]] = {
    "aider": Kind(
        package="aider-chat",
        module="aider",
        command=_aider_command,
        files=_aider_files,
        message=lambda job: job.prompt,
        variables=_LITELLM,
    ),
    "mini": Kind(
        package="mini-swe-agent",
        module="minisweagent",
        command=_mini_command,
        files=lambda _job: {},
        message=_mini_message,
        variables=_LITELLM
        | {
            "MSWEA_CONFIGURED": "true",  # else it asks a person for a model
            "MSWEA_COST_TRACKING": "ignore_errors",  # else it ends: nobody knows this model's price
            "MSWEA_GLOBAL_CONFIG_DIR": "/tmp/mini-swe-agent",
            "MSWEA_SILENT_STARTUP": "1",
        },
        report=_MINI_REPORT,
    ),
}
"""Outside agents by the names that `adi eval --agent` knows."""

NO_GATE: Final = 97
"""Exit code of the script when the socket cannot be reached."""


def script(kind: Kind, job: Job) -> str:
    """What runs in the container: a forwarder to the socket, a git repository with one commit, the agent.

    The agent runs in its own environment, so that no command of the model meets its packages.
    """
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in kind.variables.items())
    report = f"python3 -I {GATE}/report.py" if kind.report else ":"
    return f"""\
{exports}
socat TCP-LISTEN:{PORT},bind=127.0.0.1,fork,reuseaddr,backlog=64 UNIX-CONNECT:{GATE}/model.sock &
tries=0
until socat -u /dev/null TCP:127.0.0.1:{PORT} 2>/dev/null; do
    tries=$((tries + 1)); [ $tries -lt 50 ] || exit {NO_GATE}; sleep 0.1
done
socat -u /dev/null UNIX-CONNECT:{GATE}/model.sock || exit {NO_GATE}
git config --global user.name ADI && git config --global user.email adi@localhost
git init --quiet --initial-branch=main && git add --all && git commit --quiet --allow-empty --message=given
{PEER}/bin/python3 -P -m {kind.module} {kind.command(job)} </dev/null 2>&1
ended=$?
echo
{report}
exit $ended
"""
