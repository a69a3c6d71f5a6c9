"""The server of a choice in this process, whichever engine it names."""

from pathlib import Path

from model.serving import Left, Ready, ServeChoice, check_extra


def host(choice: ServeChoice, state_dir: Path, ready: Ready) -> Left:
    """Serves until told to leave. Raises ServerFailed when it cannot start."""
    if choice.engine == "llama":
        from model.llama import host as host_llama

        return host_llama(choice, state_dir, ready)
    check_extra()
    from model.torch_host import host as host_torch

    return host_torch(choice, state_dir, ready)
