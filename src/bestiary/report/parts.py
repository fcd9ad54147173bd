"""What a section of the page is made of: text, statements, tables, plots.

In: finished text and figures. Out: `Part`s, each of which names the template that draws it. Owns no file.

A new kind of part is a class here and a template in `templates/parts/`, which finds it as `part`, and the pictures of
the page as `album`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from markupsafe import Markup
from matplotlib.figure import Figure

from bestiary.report.figures.svg import figure_svg
from bestiary.report.words.wording import Sentence

_WIDE_IN, _NARROW_IN = 7.2, 3.7
_FOLDED_ROWS, _TALL_ROWS, _DENSE_COLUMNS = 10, 25, 8


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a section: a heading and small print above it, where it has any, and what its template draws."""

    template: ClassVar[str]
    title: str = ""
    note: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show: the part is then left out, with its heading."""
        return False


@dataclass(frozen=True)
class Text(Part):
    """Paragraphs. Words between backticks are shown as code."""

    template = "parts/text.html.j2"
    paragraphs: Sequence[str]
    quiet: bool = False

    @property
    def empty(self) -> bool:
        """Whether no paragraph says anything."""
        return not any(self.paragraphs)


@dataclass(frozen=True)
class Statements(Part):
    """Sentences by topic."""

    template = "parts/statements.html.j2"
    sentences: Sequence[Sentence]

    @property
    def empty(self) -> bool:
        """Whether there is no sentence."""
        return not self.sentences


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text and, smaller below it, up to two notes."""

    text: str
    note: str = ""
    second_note: str = ""


@dataclass(frozen=True)
class Table(Part):
    """A table of finished text.

    Attributes:
        columns: the head.
        rows: the first cell names the row.
        words: the columns that are not numbers.
        marked, quiet: rows that are set off, and rows that are greyed.
        label: what the table is, for readers who cannot see it.
        folds: what the rows are ("files"), where a table of more than ten is folded away.
    """

    template = "parts/table.html.j2"
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    words: frozenset[int] = frozenset({0})
    marked: frozenset[int] = field(default_factory=frozenset)
    quiet: frozenset[int] = field(default_factory=frozenset)
    label: str = ""
    folds: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is no row."""
        return not self.rows

    @property
    def folded(self) -> bool:
        """Whether the table stands behind a line that opens it."""
        return bool(self.folds) and len(self.rows) > _FOLDED_ROWS

    @property
    def tall(self) -> bool:
        """Whether the table gets a box of its own to scroll in, with its head in place."""
        return len(self.rows) > _TALL_ROWS

    @property
    def dense(self) -> bool:
        """Whether so many columns stand side by side that letters are smaller."""
        return len(self.columns) > _DENSE_COLUMNS


@dataclass(frozen=True)
class Plot(Part):
    """One figure, drawn for a wide and for a narrow column; `note` is its caption."""

    template = "parts/plot.html.j2"
    wide: Markup
    narrow: Markup


def draw_plot(name: str, draw: Callable[..., Figure], subject: Any, *, alt: str, caption: str) -> Plot:
    """Draw one of `plots` for both widths.

    Args:
        name: letters, digits and hyphens, unique on the page.
        draw: takes `subject` and `width_in`.
        subject: a table or a mapping.
        alt: what the figure shows, for readers who cannot see it.
        caption: stands above it.
    """

    def svg(width_in: float, suffix: str) -> Markup:
        figure = draw(subject, width_in=width_in)
        return Markup(figure_svg(figure, name=f"{name}-{suffix}", alt=alt))  # noqa: S704 - escaped by its writer

    return Plot(svg(_WIDE_IN, "w"), svg(_NARROW_IN, "n"), note=caption)
