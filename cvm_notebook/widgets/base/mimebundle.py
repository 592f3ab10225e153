"""Rich display of an object: static text and html, and a widget where there is a kernel for one."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

_VIEW: Final = "application/vnd.jupyter.widget-view+json"


def with_widget(static: Mapping[str, str], make: Callable[[], Any]) -> dict[str, Any]:
    """Return what is displayed: the static text and html, and the widget where one can live.

    Parameters
    ----------
    static
        What is seen without a kernel: on GitHub, by nbconvert, in a mail.
    make
        Makes the widget, or returns the one there is.
    """
    if not has_kernel():
        return dict(static)
    widget = make()
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {**static, _VIEW: view}


def display_in_jupyter(bundle: Mapping[str, Any]) -> None:
    """Display a bundle so that its snapshot is seen where a saved notebook is opened again.

    JupyterLab shows the widget of a bundle, or its error, and never the html beside it
    (ipywidgets#1664). So the html is an output of its own, which the widget hides once it is drawn.

    Raises
    ------
    NotImplementedError
        There is no widget in it: IPython then displays it as it does others.
    """
    if _VIEW not in bundle or "text/html" not in bundle or in_marimo():
        raise NotImplementedError
    from IPython.display import publish_display_data  # noqa: PLC0415 - there is a kernel

    plain = bundle["text/plain"]
    static = f'<div class="cvm-static">{bundle["text/html"]}</div>'
    for data in (
        {"text/plain": plain, "text/html": static},
        {"text/plain": "", _VIEW: bundle[_VIEW]},
    ):
        publish_display_data(data)  # type: ignore[no-untyped-call]


def displayed(bundle: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """Return what marimo shows of a bundle: the widget where it has one, else its html."""
    if _VIEW in bundle:
        return make()
    from IPython.display import HTML  # noqa: PLC0415 - not needed elsewhere

    return HTML(bundle.get("text/html") or bundle["text/plain"])  # type: ignore[no-untyped-call]


def allows_input(shell: Any) -> bool:
    """Whether the running cell allows input prompts."""
    if getattr(shell, "kernel", None) is None:
        return False
    request = shell.get_parent()  # a run by nbclient or papermill allows no questions
    return bool(request.get("content", {}).get("allow_stdin"))


def in_marimo() -> bool:
    """Whether this thread runs a cell of a marimo notebook, or handles a message of its page."""
    marimo = sys.modules.get("marimo")
    return marimo is not None and bool(marimo.running_in_notebook())


def has_kernel() -> bool:
    """Whether this process is a kernel, to which a front end may speak."""
    if in_marimo():
        return True
    # another thread may be importing it just now, and then there is no kernel either
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython is not None and getattr(get_ipython(), "kernel", None) is not None
