"""All formats of data sets, by the names of their configurations; the first one is what loads by default."""

from collections.abc import Mapping
from typing import Final

from feedback.format_atif import ATIF
from feedback.format_base import Context as Context
from feedback.format_base import Format as Format
from feedback.format_base import Tokens as Tokens
from feedback.format_chat import INFILL, PROMPT_COMPLETION, SFT
from feedback.format_pairs import INFILL_PREFERENCE, INFILL_UNPAIRED, PREFERENCE, REWARDS, UNPAIRED
from feedback.format_runs import PREDICTIONS, SESSIONS, TRAJECTORIES
from feedback.pretokenised import PRETOKENISED

_ALL: Final[tuple[Format, ...]] = (
    SFT,
    PROMPT_COMPLETION,
    INFILL,
    PREFERENCE,
    INFILL_PREFERENCE,
    UNPAIRED,
    INFILL_UNPAIRED,
    REWARDS,
    TRAJECTORIES,
    SESSIONS,
    ATIF,
    PRETOKENISED,
    PREDICTIONS,
)
FORMATS: Final[Mapping[str, Format]] = {form.name: form for form in _ALL}
