"""The connection to the Docker engine."""

import os
import shutil
import socket
from typing import TYPE_CHECKING

from sandbox.errors import DockerMissing

if TYPE_CHECKING:
    from docker import APIClient

PING_S = 5.0
CALL_S = 30.0
"""Longest wait for the engine to answer one call; commands have their own limit."""


def connect(call_s: float = CALL_S) -> "APIClient":
    """A client that has been answered. Raises DockerMissing, within PING_S, with the step that helps.

    The low-level client is used because it alone gives the raw stream of an exec.
    """
    import docker
    import requests

    _knock()
    try:
        client = docker.from_env(timeout=PING_S).api
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise DockerMissing(*_explain(str(error))) from error
    try:
        client.ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        client.close()
        raise DockerMissing(*_explain(str(error))) from error
    client.timeout = call_s
    return client


def _knock() -> None:
    """Raises DockerMissing when nobody listens; the Docker library would leak its socket then."""
    scheme, _, path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
    if scheme != "unix":
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PING_S)
        try:
            probe.connect(path)
        except OSError as error:
            raise DockerMissing(*_explain(str(error))) from error


def _explain(reason: str) -> tuple[str, str]:
    """Message and hint for a failed connection."""
    where = os.environ.get("DOCKER_HOST", "")
    if where:
        return f"no Docker engine answers at DOCKER_HOST={where}", "check DOCKER_HOST, or unset it"
    if "Permission" in reason:
        return (
            "no permission to use the Docker engine",
            'add yourself to its group and log in again: sudo usermod -aG docker "$USER"',
        )
    if shutil.which("dockerd") or shutil.which("docker"):
        return (
            "the Docker engine does not answer",
            "start it: adi doctor --fix, or: sudo systemctl start docker",
        )
    return "Docker is not installed", "install it: adi doctor --fix, or: sudo apt-get install docker.io"
