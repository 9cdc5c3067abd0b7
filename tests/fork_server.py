"""One fork server for all child processes of a test process, with every module that they need.

Python starts it once, with what the first child's owner names; children of all others would import what they need anew, each for
longer than most tests take.
"""

from multiprocessing import forkserver

from digest.app.subscribers import child_work

_modules = list(child_work.PRELOADED_MODULES)


def share_fork_server() -> None:
    """Have this process load into its fork server what any part of it has named, and what the product does."""
    load = forkserver.set_forkserver_preload

    def add_modules(names: list[str]) -> None:
        _modules.extend(name for name in names if name not in _modules)
        load(_modules)

    forkserver.set_forkserver_preload = add_modules  # type: ignore[assignment]  # by its own notes it is unbound
    load(_modules)


def start_fork_server() -> None:
    """Start it while no test has changed the environment, if collected tests have named modules of their own."""
    if len(_modules) > len(child_work.PRELOADED_MODULES):
        forkserver.ensure_running()
