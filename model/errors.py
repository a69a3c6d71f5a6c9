"""What can go wrong at the model boundary; every error says which command helps."""


class ModelError(Exception):
    """Base of all errors of this package: one sentence and the command that helps."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnknownModel(ModelError):
    """No catalogue entry and no file has this name."""


class ModelMissing(ModelError):
    """The catalogue knows the model, but its file is not on this disk."""


class HashMismatch(ModelError):
    """The bytes are not the ones the catalogue promises; nothing of them is kept."""


class DownloadFailed(ModelError):
    """No source gave the file. What was verified stays, so that the next pull continues."""


class NoSpace(ModelError):
    """The disk cannot hold the file."""


class AdapterRefused(ModelError):
    """An adapter that does not belong to this base, brings what is never run, or may not be served."""


class UnknownAdapter(ModelError):
    """No adapter has this name."""


class AdapterDamaged(ModelError):
    """An adapter's bytes are not the ones that were added, or nobody knows which one is served."""


class ServerFailed(ModelError):
    """The model server could not start, or answered with an error of its own."""


class Unreachable(ModelError):
    """Nothing answers at the server's address."""


class Overloaded(ModelError):
    """The server says: later. `retry_after` is its own wish in seconds, 0 when it has none."""

    def __init__(self, message: str, hint: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class StreamBroken(ModelError):
    """The answer stopped before its end; nothing of it may be used."""


class RequestRefused(ModelError):
    """The server calls the request wrong, such as a grammar that does not parse (HTTP 4xx)."""


class Unsupported(ModelError):
    """The server cannot do what was asked; it was not sent."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(f"the model server cannot do this: {what}", hint)
        self.what = what


class PromptTooLong(ModelError):
    """Prompt and reserved answer do not fit the window; nothing was cut. Both sizes in tokens."""

    def __init__(self, prompt_tokens: int, n_ctx: int, reserved: int = 0, said: str = "") -> None:
        """`said` are the words of a server that tells no numbers; the sizes may be 0 then."""
        super().__init__(
            said
            or f"the prompt has {prompt_tokens} tokens and the answer may take {reserved}, "
            f"but the model's window is {n_ctx}",
            "ask for less at once, or serve the model with a larger window (setting model.n_ctx)",
        )
        self.prompt_tokens = prompt_tokens
        self.n_ctx = n_ctx
        self.reserved = reserved
