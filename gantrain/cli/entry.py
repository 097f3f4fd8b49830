"""The entry point of the program: it runs a command, and turns errors into lines and exit codes."""

from __future__ import annotations

import errno
import os
import sys
import time
import warnings
from typing import Any, NoReturn

import click

from gantrain.cli.group import cli
from gantrain.cli.options import is_first_process
from gantrain.distributed.environment import shown_ranks
from gantrain.errors import Notice, UserError, is_out_of_memory
from gantrain.utils.output import protect_output

# The seconds that a process other than the host's first waits before it ends with an error. A launcher ends all
# processes as soon as one has ended, and the first process usually has the same error to print.
_AFTER_THE_FIRST = 5


def main() -> NoReturn:
    """Run a command and exit with code 0 for success, 2 for an error of the user, 130 for Ctrl-C, 1 for a bug."""
    protect_output()
    # The class of a target: may lie in the working directory.
    try:
        here = os.getcwd()
    except FileNotFoundError:
        _give_up("the current directory has been deleted; change to another one")
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    warnings.showwarning = _show_warning
    # An image that Pillow has doubts about is read, or its error names the file; these warnings name none.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    # gantrain reports in one line what happens to processes. torch would add traces of its own C++ code.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    try:
        sys.exit(cli(standalone_mode=False))
    except UserError as error:
        _give_up(str(error), error.shared)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN):
            _give_up(
                f"{error.strerror}: a limit of the system on open files or processes is reached; use fewer workers or "
                "processes, or raise the limit (ulimit -n, ulimit -u)"
            )
        # If the system refuses access to a file, that is no bug. An error without a file may be one. Whoever writes a
        # file names it; what remains is the terminal, or the file or pipe that stands for it.
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        _give_up(f"{error.filename or 'the output'}: {error.strerror}")
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        command = getattr(error, "ctx", None)
        hint = f" (see {command.command_path} --help)" if command else ""
        message = " ".join(error.format_message().split()).rstrip(".")
        print(f"gantrain: {message}{hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        from gantrain.compute.memory import out_of_memory_message

        _give_up(f"{out_of_memory_message(error)}; close other programs, or take a smaller batch or network")


def _give_up(message: str, shared: bool = False) -> NoReturn:
    """Print an error and end.

    Args:
        message: the error, of one line or more.
        shared: whether all processes end with it; then the first of each host prints it, which has its own terminal.
    """
    if shown_ranks()[1] != 0:
        time.sleep(_AFTER_THE_FIRST)
        if shared:
            sys.exit(2)
    for line in message.splitlines():
        print(f"gantrain: {line}", file=sys.stderr)
    sys.exit(2)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Show a notice as a plain line, in the first process only; show any other warning as usual, with its source."""
    if not issubclass(category, Notice):
        _show_with_source(message, category, *where, **more)
    elif is_first_process():
        # The name of a file in it may have line breaks.
        print(f"gantrain: {' '.join(str(message).splitlines())}", file=sys.stderr)


_show_with_source = warnings.showwarning
