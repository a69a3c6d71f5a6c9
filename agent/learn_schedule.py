"""When Learn runs by itself: conditions such as `50 new accepted`, and texts for systemd and cron."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.errors import UsageError

WHEN: Final = re.compile(r"(\d{1,6})\s+new\s+accepted", re.IGNORECASE)
KINDS: Final = ("systemd", "cron")
_SERVICE: Final = """\
# {folder}/adi-learn.service
[Unit]
Description=ADI learns from accepted work

[Service]
Type=oneshot
ExecStart={command}
# 3: nothing was promoted, the old model stays
SuccessExitStatus=3
Nice=19
IOSchedulingClass=idle
{environment}
# {folder}/adi-learn.timer
[Unit]
Description=ADI learns every night

[Timer]
OnCalendar=*-*-* 02:30
Persistent=true
RandomizedDelaySec=20min

[Install]
WantedBy=timers.target

# then: systemctl --user daemon-reload && systemctl --user enable --now adi-learn.timer
"""


def least_new(when: str) -> int:
    """Accepted runs that must be new; 0 for an empty text. Raises UsageError for what is no condition."""
    if not when.strip():
        return 0
    found = WHEN.fullmatch(when.strip())
    if found is None or not int(found[1]):
        raise UsageError(f"no condition {when!r}", 'such as: --when "50 new accepted"')
    return int(found[1])


def schedule(kind: str, program: Path, arguments: Sequence[str], home: str = "") -> str:
    """The text that makes it periodic; nothing is installed. Raises UsageError for another kind."""
    command = [str(program), *arguments]
    if kind == "systemd":
        spelled = " ".join(_unit(part) for part in command)
        environment = f"Environment={_unit(f'ADI_HOME={home}')}\n" if home else ""
        return _SERVICE.format(folder="~/.config/systemd/user", command=spelled, environment=environment)
    if kind == "cron":
        environment = f"ADI_HOME={shlex.quote(home)} " if home else ""
        spelled = f"{environment}nice -n 19 {shlex.join(command)}".replace("%", "\\%")
        return f"# crontab -e\n30 2 * * * {spelled}\n"
    raise UsageError(f"no schedule for {kind!r}", f"use {' or '.join(KINDS)}")


def _unit(part: str) -> str:
    """A word of a unit file: `%` and `$` mean themselves, blanks do not divide it."""
    quoted = part.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{quoted}"' if re.search(r"[\s\"'\\;]", part) or not part else quoted
