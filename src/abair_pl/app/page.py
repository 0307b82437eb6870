"""The page: where things stand, and what happens when they are touched."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from abair_pl.app.desk import Desk, Opened
from abair_pl.app.examples import Example
from abair_pl.app.handlers import Finding
from abair_pl.errors import AbairError
from abair_pl.images import to_8bit
from abair_pl.palette import LABEL_COLORS, paint_labels

KEPT_S = 6 * 3600
"""How long files and photographs of a page that nobody touches are kept."""

STYLE = ".gradio-container { max-width: 1080px !important; margin: 0 auto !important; }"
"""CSS: on a wide screen, the examples stay small."""

_SWEEP_S = 600
_TURN = "restorer"
"""All work takes turns here: one photograph at a time."""

_SLIDERS_A_ROW = 2
_NOTHING_OPEN = "no photograph is open: drop one, or choose an example"
_SWATCH = "display:inline-block;width:0.9em;height:0.9em;margin:0 0.3em 0 0.9em;border:1px solid #888;background:"


def build_page(desk: Desk, examples: Sequence[Example]) -> Any:
    """Make the page, a Gradio ``Blocks``.

    Args:
        desk: Does the work.
        examples: Photographs to try.
    """
    import gradio as gr  # optional

    def slider(name: str, value: float, mark: str) -> Any:
        label = name.replace("_", " ")
        return gr.Slider(0.0, 1.0, value, step=0.01, label=label, min_width=160, buttons=[], elem_id=mark)

    names = desk.model.names
    sweep = (_SWEEP_S, KEPT_S)
    with gr.Blocks(title="abair-pl", fill_width=True, analytics_enabled=False, delete_cache=sweep) as page:
        gr.Markdown("## Restore a photograph\n" + _explained(desk))
        state = gr.State(time_to_live=KEPT_S)
        with gr.Row():
            with gr.Column(scale=2, min_width=340):
                upload = gr.File(
                    label="Drop a photograph",
                    elem_id="upload",
                    height=130,
                )
                gr.Markdown("Or try one of these:")
                gallery = gr.Gallery(
                    [(to_8bit(example.pixels), example.damage) for example in examples],
                    show_label=False,
                    elem_id="examples",
                    columns=len(examples),
                    height=136,
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                )
                found = gr.Textbox(label="Found", interactive=False, lines=1, max_lines=4, elem_id="found")
                sliders = []
                with gr.Group():
                    for start in range(0, len(names), _SLIDERS_A_ROW):
                        row = names[start : start + _SLIDERS_A_ROW]
                        with gr.Row():
                            sliders += [slider(name, 0.0, f"of-{name}") for name in row]
                    strength = slider("strength", 1.0, "strength")
                download = gr.DownloadButton("Download PNG", interactive=False, variant="primary", elem_id="download")
            with gr.Column(scale=3, min_width=400):
                compare = gr.ImageSlider(
                    label="Before | after", interactive=False, buttons=["fullscreen"], elem_id="compare"
                )
                with gr.Accordion("Label map: what is seen where", open=True):
                    labels = gr.Image(show_label=False, interactive=False, format="png", buttons=[], elem_id="labels")
                    gr.HTML(_legend(desk.model.bundle.config.degradations))

        def opened(work: Opened, finding: Finding) -> list[Any]:
            painted = None if finding.labels is None else Image.fromarray(paint_labels(finding.labels))
            estimated = [round(finding.weights[name], 2) for name in names]
            return [*shown(work), finding.words, painted, 1.0, *estimated]

        def shown(work: Opened) -> list[Any]:
            return [
                work,
                (str(work.before), str(work.after)),
                gr.DownloadButton(value=str(work.after), interactive=True),
            ]

        def refused(words: str) -> list[Any]:
            empty = gr.DownloadButton(value=None, interactive=False)
            return [None, None, empty, words, None, 1.0, *(0.0 for _ in names)]

        def open_upload(path: str) -> list[Any]:
            try:
                return opened(*desk.open_file(Path(path)))
            except AbairError as error:
                return refused(str(error))

        def open_example(event: gr.SelectData) -> list[Any]:
            return [None, *opened(*desk.open_example(examples[event.index]))]

        def reweigh(work: Opened | None, share: float, *weights: float) -> list[Any]:
            named = dict(zip(names, weights, strict=True))
            return moved(work, lambda current: desk.reweigh(current, named, share))

        def fade(work: Opened | None, share: float) -> list[Any]:
            return moved(work, lambda current: desk.fade(current, share))

        def moved(work: Opened | None, how: Callable[[Opened], Opened]) -> list[Any]:
            if work is None:
                raise gr.Error(_NOTHING_OPEN, print_exception=False)
            try:
                return shown(how(work))
            except AbairError as error:
                raise gr.Error(str(error), print_exception=False) from error

        turn = {"concurrency_id": _TURN, "concurrency_limit": 1, "api_visibility": "private"}
        moves = {"trigger_mode": "always_last", **turn}  # a move while the last is worked on is not lost
        result = [state, compare, download]
        whole = [*result, found, labels, strength, *sliders]
        upload.upload(open_upload, upload, whole, **turn)
        gallery.select(open_example, None, [upload, *whole], **turn)
        gr.on([each.release for each in sliders], reweigh, [state, strength, *sliders], result, **moves)
        strength.release(fade, [state, strength], result, **moves)
    return page


def _explained(desk: Desk) -> str:
    limits = desk.limits
    return (
        "The bundle estimates what is wrong with it; move the sliders to mix its adapters by hand. "
        f"Up to {limits.upload_mb:g} MB and {limits.megapixels:g} megapixels; nothing is sent to anybody else."
    )


def _legend(degradations: Sequence[str]) -> str:
    """HTML that tells the colours of the label map."""
    colors = [LABEL_COLORS[label % len(LABEL_COLORS)].tolist() for label in range(len(degradations) + 1)]
    parts = [
        f'<span style="white-space:nowrap"><span style="{_SWATCH}rgb({red},{green},{blue})"></span>'
        f"{escape(name.replace('_', ' '))}</span>"
        for name, (red, green, blue) in zip(["clean", *degradations], colors, strict=True)
    ]
    return " ".join(parts)
