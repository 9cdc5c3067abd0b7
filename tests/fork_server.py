"""One fork server for all child processes of a test process, with the modules of everyone who asks for one.

Python starts it once, with what the first child's owner names; children of all others would import what they need anew, each for
longer than most tests take.
"""

from multiprocessing import forkserver

from digest.app.subscribers import child_work


def share_fork_server() -> None:
    """Have this process load into its fork server what any part of it has named, and what the product does."""
    modules, load = list(child_work.PRELOADED_MODULES), forkserver.set_forkserver_preload

    def add_modules(modules_names: list[str]) -> None:
        modules.extend(name for name in modules_names if name not in modules)
        load(modules)

    forkserver.set_forkserver_preload = add_modules
    load(modules)
