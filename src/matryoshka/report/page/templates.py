"""The templates and the style of pages: every text is escaped, and a name that is not given is an error."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

import jinja2
from markupsafe import Markup


def page_template(name: str, **filters: Callable[..., object]) -> jinja2.Template:
    """The template beside this module, and those that it includes, with filters of its own."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files(__package__).joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(name)


def page_style() -> Markup:
    """What all pages look like, as CSS."""
    return Markup(files(__package__).joinpath("page.css").read_text(encoding="utf-8"))
