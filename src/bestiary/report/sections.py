"""The sections of the page, in order: the one list to which a section, a table or a plot is added.

In: a `StudyRecord`. Out: `BuiltSection`s for `templates/page.html.j2`. Owns no file.

A section has builders; each takes the study and returns a `Part` (see `parts`), or None where there is nothing to
show. To add a table, write a function `(study) -> Table` in the module of `contents` that its subject has, and name it
here where it is to stand. The table of contents follows this list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bestiary.report.contents import (
    as_given,
    backbones_raced,
    class_results,
    data_parts,
    fix_first,
    leak_free,
    model_parts,
    over_folds,
    over_seeds,
    provenance,
    settings_table,
)
from bestiary.report.parts import Part
from bestiary.report.study_record import StudyRecord
from bestiary.report.words import data_statements

Builder = Callable[[StudyRecord], Part | None]


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: its id in the page: letters, digits and hyphens.
        title: its heading.
        parts: builders of what stands in it, in order.
        short: what the table of contents calls it, where that is not the title.
    """

    name: str
    title: str
    parts: tuple[Builder, ...]
    short: str = ""


SECTIONS: list[Section] = [
    Section(
        "data",
        "The data",
        (
            data_parts.data_lead,
            data_parts.class_counts_plot,
            data_parts.resolutions_plot,
            data_parts.samples,
            data_parts.left_out_table,
            data_parts.dropped_table,
        ),
    ),
    Section(
        "fix-first",
        "What to fix first",
        (
            fix_first.findings_lead,
            data_statements.data_statements,
            data_statements.shortcuts_table,
            fix_first.counts_table,
            fix_first.finding_cards,
        ),
    ),
    Section(
        "method",
        "What was done",
        (data_parts.split_lead, data_parts.split_sizes_table, settings_table.setup_table),
    ),
    Section(
        "models",
        "The models compared",
        (
            model_parts.ranking_table,
            over_folds.folds_table,
            over_seeds.seeds_table,
            as_given.as_given_table,
            leak_free.leak_free_table,
            model_parts.intervals_plot,
            model_parts.not_run,
            backbones_raced.backbones_table,
            backbones_raced.front_plot,
            backbones_raced.time_statements,
        ),
        short="The models",
    ),
    Section("curves", "Learning curves", (model_parts.curves_plot, model_parts.curves_note)),
    Section("classes", "Classes and confusions", (class_results.class_results,)),
    Section("settings", "Settings", (settings_table.settings_table,)),
    Section("findings", "What the figures say", (model_parts.model_statements,)),
    Section("errors", "Most confident errors", (class_results.worst_errors,)),
    Section(
        "provenance",
        "How it was made",
        (
            provenance.runs_table,
            provenance.seconds_table,
            provenance.shared_environment_table,
            provenance.environment_by_model_table,
        ),
    ),
]


@dataclass(frozen=True)
class BuiltSection:
    """A section with the parts that this study has."""

    name: str
    title: str
    short: str
    parts: Sequence[Part]


def build_sections(study: StudyRecord) -> list[BuiltSection]:
    """Every section that has something to show. No picture is made yet: the page puts in those that fit."""
    built = []
    for section in SECTIONS:
        made = (build(study) for build in section.parts)
        if parts := [part for part in made if part is not None and not part.empty]:
            built.append(BuiltSection(section.name, section.title, section.short or section.title, parts))
    return built
