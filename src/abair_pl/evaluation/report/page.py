"""The report as one HTML file that needs no other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from abair_pl.evaluation.report.columns import DAGGER, marked_labels
from abair_pl.evaluation.report.pictures import data_uri, slides
from abair_pl.evaluation.report.radar import LOWEST_RING, RINGS
from abair_pl.evaluation.report.table import Table
from abair_pl.evaluation.results import Example, Results

_RINGS_CAPTION = (
    f"On each axis the lowest value is on circle {LOWEST_RING} and the highest on circle {RINGS}, the outermost; "
    "both are written beside it."
)
_CAPTIONS = {
    "radar": f"Mean PSNR of the input and of each method. {_RINGS_CAPTION}",
    "radar_published": f"The same beside published methods (dotted, not measured here). {_RINGS_CAPTION}",
    "histograms": "Gain in PSNR over the input, image by image, and its mean. "
    "Left of the dashed line a result is worse than its input.",
}


@dataclass(frozen=True)
class _Plot:
    name: str
    uri: str
    caption: str


def html_page(results: Results, table: Table, examples: Sequence[Example], plots: Mapping[str, bytes]) -> str:
    """The page: table, figures, examples with sliders, protocols and facts.

    It opens from disk, asks the network for nothing, and is told by its security policy not to.

    Args:
        results: Of the benchmark.
        table: Of the results.
        examples: To be looked at, in the order of the tasks.
        plots: Any of ``radar``, ``radar_published`` and ``histograms``, as SVG.
    """
    environment = Environment(
        loader=PackageLoader("abair_pl.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made = slides(results.suite, examples)
    labels = marked_labels(results)
    groups = {
        label: [slide for slide, example in zip(made, examples, strict=True) if example.task == name]
        for name, label in labels.items()
    }
    protocols = {labels[name]: values for name, values in results.protocols.items()}
    return environment.get_template("report.html").render(
        table=table,
        dagger=DAGGER,
        plots=[_Plot(name, data_uri("image/svg+xml", svg), _CAPTIONS[name]) for name, svg in plots.items()],
        groups={title: group for title, group in groups.items() if group},
        protocols=protocols,
        protocol_keys=list(dict.fromkeys(key for values in protocols.values() for key in values)),
        facts=results.facts,
    )
