"""Pasted text as it is: characters that would hide in the prompt, or steer the terminal, stand as escapes."""

from bisect import bisect_right

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments

from agent.inert import inert

ESCAPED = "reverse"


class Visible(Processor):
    """Draws what a paste holds before it is sent to a model; the text itself stays as it was pasted."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """One line of the input; the cursor steps over a whole escape."""
        drawn: StyleAndTextTuples = []
        places = [0]
        for style, c, *_ in explode_text_fragments(transformation_input.fragments):
            shown = inert(f"x{c}")[1:]  # behind a letter, where a combining mark is at home
            drawn.append((style if shown == c else f"{style} {ESCAPED}", shown))
            places.append(places[-1] + len(shown))

        def to_display(place: int) -> int:
            return places[min(place, len(places) - 1)] + max(0, place - len(places) + 1)

        def to_source(place: int) -> int:
            return bisect_right(places, place) - 1 + max(0, place - places[-1])

        return Transformation(drawn, source_to_display=to_display, display_to_source=to_source)
