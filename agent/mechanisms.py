"""What may be switched off one by one, so that each mechanism can be measured (`adi eval --without`)."""

from enum import StrEnum


class Mechanism(StrEnum):
    """Parts of Reflect and Evaluate that are on unless a setting names them."""

    EXAMPLES = "examples"  # examples in the task's text and in doc comments become checks
    OWN_TESTS = "own-tests"  # the model writes a failing test where nothing else shows the goal
    COVERAGE = "coverage"  # lines are ranked by what failing and passing tests ran
    LOCALS = "locals"  # the model is told the values where it failed
    MAP = "map"  # a map of the repository instead of the list of its files
    LOCATED_PLAN = "located-plan"  # no model is asked for a plan where the evidence names the place
    MUTATIONS = "mutations"  # standard small changes of a line, without the model
    INFILL = "infill"  # lines filled in from both sides
    LINES = "lines"  # lines corrected in view of the failure
    FUNCTIONS = "functions"  # functions written again
    DRAFTS = "drafts"  # files written whole
    SAMPLES = "samples"  # more than the one greedy candidate
    REPAIR = "repair"  # the best candidate written again in view of how it fails
    AGREEMENT = "agreement"  # among candidates that nothing tells apart, the most common behaviour
    ACTIONS = "actions"  # the action loop, after the candidates
