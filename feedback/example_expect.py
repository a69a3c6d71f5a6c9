"""Runs in the sandbox, beside the generated tests: one example as one assertion.

It is copied there as it is, so it uses the standard library only.
"""

import contextlib
import importlib
import importlib.util
import io
import math
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIMIT_S = 4.0
"""Seconds for one example; after the first that took longer, the others get a quarter."""
_SHOWN = 300
_loaded: dict[str, types.ModuleType | BaseException] = {}
_slow: list[str] = []

Missing = type("Missing", (LookupError,), {"__doc__": "The example names what is not there to be judged."})


def load(path: str) -> types.ModuleType:
    """The module at a path of the repository, imported once as its package would be."""
    if path not in _loaded:
        try:
            _loaded[path] = _import(Path(path))
        except BaseException as error:  # noqa: BLE001  (also SystemExit of a module that runs at import)
            _loaded[path] = error
    found = _loaded[path]
    if isinstance(found, BaseException):
        raise found
    return found


def _import(path: Path) -> types.ModuleType:
    parts = [path.stem] if path.stem != "__init__" else []
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.name:
        parts.insert(0, folder.name)
        folder = folder.parent
    for root in (Path("src"), Path(), folder):
        if root.is_dir():
            sys.path.insert(0, str(root.resolve()))
    name = ".".join(parts)
    if len(parts) > 1 or path.stem == "__init__":
        return importlib.import_module(name)
    if name in sys.stdlib_module_names or name in sys.modules:
        name = f"under_test_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def expect(
    path: str, setup: str, call: str, *, value: str = "", text: str = "", raises: str = "", digits: int = 0
) -> None:
    """Assert that a call gives a value, shows a text, or raises; exactly one of the three is told.

    `digits` is how many decimals the expected value was written with: floats within half of the last one
    are equal when there are three or more, else within a millionth.
    """
    __tracebackhide__ = True
    module = load(path)
    space = {**vars(module), "__name__": "example", "__tracebackhide__": True}
    space.setdefault(Path(path).stem, module)
    package = module.__name__.partition(".")[0]  # people leave out the import of what all know they speak of
    space.setdefault(package, sys.modules.get(package, module))
    _known(call, space, setup)
    with _limited(call):
        try:
            exec(compile(setup, "<setup>", "exec"), space)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in Path(path).with_suffix("").parts:
                raise Missing(f"no module {error.name} here") from error
            raise
        except NameError as error:
            if f"{error.name}." in setup:
                raise Missing(f"nothing is named {error.name}") from error
            raise
        if raises:
            _must_raise(call, space, raises)
        elif text:
            _must_show(call, space, text)
        else:
            got = _value(call, space)
            want = _wanted(value, space)
            if not same(got, want, 0.5 * 10**-digits if digits >= 3 else 1e-9):
                raise AssertionError(f"{_short(call)} gave {_short(repr(got))}, expected {_short(value)}")


def _value(call: str, space: dict[str, Any]) -> Any:
    """What the call gives. In prose `f()` often only names a function, one that wants arguments."""
    __tracebackhide__ = True
    try:
        return eval(compile(call, "<example>", "eval"), space)
    except TypeError as error:
        inside = error.__traceback__ and error.__traceback__.tb_next and error.__traceback__.tb_next.tb_next
        if call.endswith("()") and not inside and "required positional argument" in str(error):
            raise Missing(f"{call} has no arguments") from error
        raise


def _wanted(value: str, space: dict[str, Any]) -> Any:
    try:
        return eval(compile(value, "<expected>", "eval"), space)
    except NameError as error:
        raise Missing(str(error)) from error


def _must_raise(call: str, space: dict[str, Any], raises: str) -> None:
    __tracebackhide__ = True
    try:
        got = _value(call, space)
        if isinstance(got, types.GeneratorType):
            list(got)
    except BaseException as error:
        if isinstance(error, Missing):
            raise
        if any(kind.__name__ == raises for kind in type(error).__mro__):
            return
        raise AssertionError(
            f"{_short(call)} raised {type(error).__name__}: {_short(str(error))}, expected {raises}"
        ) from error
    raise AssertionError(f"{_short(call)} gave {_short(repr(got))}, expected {raises}")


def _must_show(call: str, space: dict[str, Any], text: str) -> None:
    """What an interactive session shows: printed text, then the value's repr unless it is None."""
    __tracebackhide__ = True
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        got = _value(call, space)
    shown = printed.getvalue() + ("" if got is None else repr(got))
    if _lines(shown) == _lines(text):
        return
    if got is not None and not printed.getvalue():
        with contextlib.suppress(Exception):
            if same(got, eval(compile(text.strip(), "<expected>", "eval"), space), 1e-9):
                return
    raise AssertionError(f"{_short(call)} showed {_short(repr(shown))}, expected {_short(repr(text))}")


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.strip().split("\n")]


def same(got: Any, want: Any, tolerance: float) -> bool:
    """Equality by value, floats within the tolerance or a millionth of their size, also inside containers."""
    if isinstance(want, float) and isinstance(got, int | float) and not isinstance(got, bool):
        return math.isclose(got, want, rel_tol=1e-6, abs_tol=tolerance) or (want != want and got != got)
    if isinstance(want, list | tuple) and type(got) is type(want) and len(got) == len(want):
        return all(same(left, right, tolerance) for left, right in zip(got, want, strict=True))
    if type(want) is dict and isinstance(got, dict) and got.keys() == want.keys():
        return all(same(got[key], want[key], tolerance) for key in want)
    answer = got == want
    try:
        return bool(answer)
    except ValueError:  # an array compares element by element
        return bool(answer.all())


def _known(call: str, space: dict[str, Any], setup: str) -> None:
    """Raise Missing for a module that is only named, such as `tools.f(1)` where nothing imports `tools`."""
    root = call.partition("(")[0].partition(".")
    if root[1] and root[0].isidentifier() and root[0] not in space and root[0] not in setup:
        raise Missing(f"nothing is named {root[0]}")


@contextlib.contextmanager
def _limited(call: str) -> Iterator[None]:
    """End an endless loop, so that the examples after it are run too."""
    limit = LIMIT_S / 4 if _slow else LIMIT_S

    def over(*_: object) -> None:
        _slow.append(call)
        raise TimeoutError(f"{_short(call)} did not end within {limit:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 2] + " …"
