"""Help fits the terminal that most people have, sentences and examples whole."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from qir.cli.amct import amct
from qir.cli.main import main
from qir.cli.opt import main as opt

COLUMNS = 80


def commands() -> Iterator[tuple[str, click.Command]]:
    yield from (("qir", main), ("qir-opt", opt))
    for group in (main, amct):
        yield from group.commands.items()


@pytest.mark.parametrize("command", [pytest.param(command, id=name) for name, command in commands()])
def test_help_fits_eighty_columns(command: click.Command) -> None:
    done = CliRunner().invoke(command, ["--help"], terminal_width=COLUMNS)
    assert done.exit_code == 0
    assert [line for line in done.stdout.splitlines() if len(line) > COLUMNS] == []


@pytest.mark.parametrize("group", [main, amct], ids=["qir", "qir amct"])
def test_a_list_of_commands_says_of_each_a_whole_sentence(group: click.Group) -> None:
    listed = CliRunner().invoke(group, ["--help"], terminal_width=COLUMNS).stdout.split("Commands:")[1]
    assert len(listed.strip().splitlines()) == len(group.commands)
    assert "..." not in listed
