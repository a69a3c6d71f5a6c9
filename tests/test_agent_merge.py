"""Merging a rewritten file: only what changed is taken."""

from agent.merge import merged

OLD = '''"""Amounts."""

import os


LIMIT = 3  # the most


def show(amount):
    # cents first
    return f"{amount}"


@cached
def keep():
    return os.sep
'''


def test_same_statements_keep_their_text() -> None:
    new = 'import os\nLIMIT = 3\ndef show(amount):\n    return f"{amount}"\n'
    new += "@cached\ndef keep():\n    return os.sep\n"
    assert merged(OLD, new) == OLD


def test_new_definitions_and_imports_are_added() -> None:
    new = 'import os\nimport re\n\ndef vat(amount):\n    return re.sub("a", "b", amount)\n'
    result = merged(OLD, new)
    assert result == OLD.replace("import os\n", "import os\nimport re\n") + (
        '\n\ndef vat(amount):\n    return re.sub("a", "b", amount)\n'
    )


def test_changed_definitions_replace_their_namesakes() -> None:
    result = merged(OLD, "LIMIT = 4\n\n@cached\n@twice\ndef keep():\n    return 1\n")
    assert "LIMIT = 4\n" in result
    assert result.count("def keep") == 1
    assert result.count("@cached") == 1
    assert "# cents first" in result
    compile(result, "merged.py", "exec")


def test_a_text_that_does_not_parse_is_left_alone() -> None:
    assert merged(OLD, "def broken(:\n") == "def broken(:\n"
    assert merged("not python (", "x = 1\n") == "x = 1\n"
