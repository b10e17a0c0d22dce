"""`Template`: a process that has imported the modules of the option `warm`, and forks workers for pools.

Touches `multiprocessing`, whose Popen of the fork server has no public name. Guarantees: pools with the same modules
share a template; one that was killed, or has ended by itself, is replaced by the next request.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import io
import pickle
import sys

assert sys.platform != "win32"  # nothing else imports this, and type checkers need not read on

from multiprocessing import forkserver, popen_forkserver, reduction, spawn, util
from multiprocessing.context import ForkServerProcess, SpawnProcess, set_spawning_popen

from corefutures import UnsupportedError
from corefutures_pools.blocking import system
from corefutures_pools.lifecycle import renew_in_child
from corefutures_pools.workers.transport import connection_pair
from corefutures_process import _template_process
from corefutures_process._inherited_state import StatefulName, inherited_state
from corefutures_process._template_process import FAILED, IMPORTING, READY, THREADS

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess
    from typing import Any, Final

#: Seconds without a worker and without a request after which a template ends.
IDLE: Final = 60.0
#: Seconds for the end of a template whose connection was closed.
_END_TIMEOUT: Final = 1.0


class Template:
    """A template process and the connection to it.

    Args:
        modules: The names of the modules that it imports, after the main module.
        inner_threads: The number of threads that BLAS and OpenMP may start in its workers, or None.

    Raises:
        ImportError: A module can't be imported; the cause has the traceback.
        UnsupportedError: A module starts threads when it is imported.
        RuntimeError: The process ended before it was ready.

    Thread safety: every method may be called from any thread.
    """

    def __init__(self, modules: tuple[str, ...], inner_threads: int | None) -> None:
        self._pipe, far = connection_pair()
        process = SpawnProcess(target=_template_process.serve, args=(far, modules, IDLE), daemon=True)
        name = f"template of {', '.join(modules) or 'workers'}"
        process.name = StatefulName(name, inherited_state(inner_threads))
        self._process = process
        try:
            try:
                process.start()
            finally:
                far.close()
            # No worker of a program: neither `active_children` nor the end of the program is to wait for it.
            _children().discard(process)
            process.name = name
            self._await_ready()
        except BaseException:
            if process.pid is not None:
                process.kill()
            self.close()
            raise

    def _await_ready(self) -> None:
        about = "__main__"
        while True:
            try:
                what, *rest = pickle.loads(self._pipe.recv_bytes())
            except (EOFError, ConnectionError):
                self._process.join()
                raise RuntimeError(
                    f"the template process of a pool ended with exit code {self._process.exitcode} while it imported"
                    f" {about}; what it says of that is on standard error"
                ) from None
            if what == READY:
                return
            if what == IMPORTING:
                (about,) = rest
            elif what == FAILED:
                name, described, missing, text = rest
                error = (ModuleNotFoundError if missing else ImportError)(
                    f"warm: the template process could not import {name!r}: {described}", name=name
                )
                raise error from _TemplateTraceback(text)
            elif what == THREADS:
                name, count = rest
                raise UnsupportedError(
                    f"warm: the import of {name!r} starts {count} thread{'s' * (count > 1)} in the template process,"
                    " and a process with threads can't be forked safely;"
                    + (
                        " have the main module start threads under `if __name__ == '__main__':`"
                        if name == "__main__"
                        else f" leave {name!r} out of warm"
                    )
                )

    def has_ended(self) -> bool:
        """Return whether the process has ended, as far as that is known."""
        return self._pipe.closed or self._process.exitcode is not None

    def new_process(self, target: Callable[..., object], args: tuple[Any, ...]) -> BaseProcess:
        """Return a process that will be forked from this template, when it is started."""
        return _TemplateProcess(self, target, args)

    def fork(self, descriptors: list[int]) -> tuple[int, int]:
        """Request a worker, see `_template_process._Server`; return the pool's ends of the status and data pipes.

        Raises:
            ConnectionError: The template has ended.
        """
        import _socket  # as in `descriptor_channel`

        with contextlib.ExitStack() as always, contextlib.ExitStack() as on_failure:
            status, far_status = system.pipe()
            always.callback(system.close, far_status)
            on_failure.callback(system.close, status)
            far_data, data = system.pipe()
            always.callback(system.close, far_data)
            on_failure.callback(system.close, data)
            sent = array.array("i", [far_data, far_status, *descriptors])
            socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, fileno=self._pipe.fileno())
            try:
                socket.settimeout(None)
                # One byte for each request: a message of a stream may be received in parts otherwise.
                socket.sendmsg([bytes([len(sent)])], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, sent)])
            except OSError as exc:
                raise ConnectionError("the template process has ended") from exc
            finally:
                socket.detach()
            on_failure.pop_all()
        return status, data

    def close(self) -> None:
        """End the process, which has no effect on workers."""
        self._pipe.close()
        process = self._process
        if process.pid is not None:
            process.join(_END_TIMEOUT)
            _children().discard(process)

    def forget(self) -> None:
        """Close this process's copy of the connection: in a forked child."""
        self._pipe.close()


class _TemplateTraceback(Exception):
    """The traceback of an import in a template process."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class _TemplateProcess(ForkServerProcess):
    """A worker that is forked from a template; in the worker itself, a `ForkServerProcess`.

    Args:
        template: The template.
        target: What the worker runs.
        args: Its arguments.
    """

    def __init__(self, template: Template, target: Callable[..., object], args: tuple[Any, ...]) -> None:
        super().__init__(target=target, args=args)
        self.name = self.name.replace("_Template", "ForkServer")
        self._template = template

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - multiprocessing's name
        return _TemplatePopen(process_obj)

    def __reduce__(self) -> Any:
        state = self.__dict__.copy()
        del state["_template"]
        return _template_process.blank_process, (), state


class _TemplatePopen(popen_forkserver.Popen):  # type: ignore[name-defined, misc, unused-ignore]
    """As that of the fork server, but the worker comes from a template."""

    def _launch(self, process_obj: _TemplateProcess) -> None:
        data = spawn.get_preparation_data(process_obj.name)
        content = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(data, content)
            reduction.dump(process_obj, content)
        finally:
            set_spawning_popen(None)
        self.sentinel, writer = process_obj._template.fork(self._fds)  # type: ignore[attr-defined]
        with open(writer, "wb", closefd=True) as file:
            # The worker's `parent_process().sentinel`: the data pipe, as long as this copy is open.
            parent_end = system.dup(writer)
            self.finalizer = util.Finalize(self, util.close_fds, (parent_end, self.sentinel))  # type: ignore[attr-defined]
            pid = forkserver.read_signed(self.sentinel)
            if pid < 0:
                raise OSError(-pid, system.strerror(-pid))
            self.pid = pid
            file.write(content.getbuffer())


#: The templates that are in use, by what they were made of.
_templates: dict[object, Template] = {}


def template_for(modules: tuple[str, ...], inner_threads: int | None) -> Template:
    """Return the template of these modules; a new one if there is none, or it has ended.

    Raises:
        BaseException: See `Template`.
    """
    for template in list(_templates.values()):
        if template.has_ended():
            discard(template)
    key = modules, inner_threads, tuple(sys.path), spawn.get_executable()
    found = _templates.get(key)
    if found is None:
        made = Template(modules, inner_threads)
        found = _templates.setdefault(key, made)
        if found is not made:  # another thread has made one meanwhile
            made.close()
    return found


def discard(template: Template) -> None:
    """Have the next pool, or worker, start another template in place of this one."""
    for key, one in list(_templates.items()):
        if one is template:
            _templates.pop(key, None)
            template.close()


def close_all() -> None:
    """End all templates."""
    while _templates:
        _, template = _templates.popitem()
        template.close()


def _after_fork_in_child() -> None:
    """Leave the templates to the parent (E11)."""
    while _templates:
        _, template = _templates.popitem()
        template.forget()


def _children() -> set[Any]:
    from multiprocessing import process

    return process._children  # type: ignore[attr-defined, no-any-return]


atexit.register(close_all)
renew_in_child(_after_fork_in_child)
