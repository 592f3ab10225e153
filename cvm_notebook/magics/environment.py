"""Environment variables of ``%cvm``: by name, from here or from a file, or typed at a prompt."""

import os
from typing import Final

from cvm_notebook.api.auth.credentials import ask
from cvm_notebook.api.compose.env_file import parse_env_file
from cvm_notebook.api.compose.hashing import check_env, check_env_name, check_env_value
from cvm_notebook.api.compose.validation import read_text_file
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.magics.session import PromptKind
from cvm_notebook.text import clean_text

_LONGEST_FILE: Final = 1 << 20


def check_askable(env: EnvTable, prompt: PromptKind | None) -> None:
    """Refuse variables without a value where no prompt is possible.

    Raises
    ------
    InvalidInput
        There are such.
    """
    if env.missing and prompt is None:
        problem = "not set in the environment, and nobody can be asked for it here"
        remedy = "Set it where the kernel is started, or name a file by --env-file."
        raise InvalidInput(", ".join(env.missing), problem, remedy)


def environment(named: list[str], file: str | None) -> EnvTable:
    """Return the variables of a file and of ``--env``, with the values that are known here.

    Raises
    ------
    InvalidInput
        A name is none, or stands twice; a file cannot be read.
    """
    env: dict[str, Secret | None] = {} if file is None else {**_of_file(file)}
    for name in named:
        if "=" in name:
            raise InvalidInput(
                "--env",
                "a value on this line would be saved in the notebook and in the history",
                "Give the name alone: the value is that of the environment, or is asked for. "
                "If it was a real secret, take it out of the cell and make a new one.",
            )
        check_env_name(name, "--env")
        if name in env:
            raise InvalidInput(name, "it is given twice", "Give it once, by --env or --env-file.")
        value = os.environ.get(name)
        if value is not None:
            check_env_value(name, value)
        env[name] = Secret(value) if value is not None else None
    check_env(env, "--env")
    return EnvTable.of(env)


def _of_file(path: str) -> dict[str, Secret]:
    """Read a file of variables; an error names the file and the line, and no value."""
    text = read_text_file("--env-file", path, _LONGEST_FILE)
    try:
        return parse_env_file(text)
    except InvalidInput as error:
        line = "" if error.field == ".env" else f", {error.field}"
        raise InvalidInput(f"{clean_text(path, 120)}{line}", error.problem, error.remedy) from None


def typed(name: str) -> Secret:
    """Ask for a value at a prompt; it is neither shown nor stored.

    Raises
    ------
    InvalidInput
        None was given.
    """
    typed = ask(f"Value of {name} (not shown, not stored): ")
    if not typed:
        raise InvalidInput(name, "no value was given", "Run the cell again. Nothing was sent.")
    return Secret(typed)
