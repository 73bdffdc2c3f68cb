"""How the result of `deepscope explain METHOD` is shown."""

from __future__ import annotations

from dataclasses import replace

from deepscope.attributions import Explanations
from deepscope.gallery import Gallery
from deepscope.presenters.explained import heat, image_cell
from deepscope.presenters.gallery import Encoder, entries_of, map_over, measured_of
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render import explores, presents
from deepscope.results import Column, GridCell, ImageGrid, Result, Table


@presents(Explanations)
def present(found: Explanations) -> Result:
    """A figure and a table of the maps."""
    return Result(
        title=f"{found.method.name}: attribution maps of {found.model.name}",
        metrics={"images": len(found), "maps": len(found.maps), "skipped": len(found.skipped)},
        blocks=(_table(found), _figure(found), *skipped_blocks(found.skipped)),
        arrays={"maps": found.maps.numpy(), "image": found.rows.numpy(), "class": found.classes.numpy()}
        | ({} if found.versus is None else {"versus": found.versus.numpy()}),
        provenance=origin([found.model], found.paths, found.digests),
    )


@explores(Explanations)
def gallery(found: Explanations) -> Gallery:
    """The images whose pixels were kept, each with the maps of its classes."""
    photos, count = found.photos[range(len(found.photos.pixels))], len(found.photos.pixels)
    entries = entries_of(photos, Encoder(count))
    for row, entry in enumerate(entries):
        maps = {}
        for place in (found.rows == row).nonzero()[:, 0].tolist():
            name = f"{found.method.name} of {found.model.categories[int(found.classes[place])]}"
            if found.versus is not None:
                name += f", not {found.model.categories[int(found.versus[place])]}"
            maps[name] = map_over(heat(found.method, found.maps[place]), count)
        entries[row] = replace(entry, maps=maps)
    return Gallery(tuple(entries), measured_of(entries), f"{found.method.name} of {found.model.name}")


def _figure(found: Explanations) -> ImageGrid:
    """Each image in a row: the maps of its true and its predicted class, or each map and the map over the image."""
    photos, model, method = found.photos, found.model, found.method
    by_truth = found.by_truth and any(photos.answers)
    probabilities = found.probabilities.tolist()
    grid: list[tuple[GridCell, ...]] = []
    for index, pixels in enumerate(photos.pixels):
        own = (found.rows == index).nonzero()[:, 0].tolist()
        if by_truth:  # a right prediction has one map, shown in both columns
            own = [own[0], own[-1]]
        if model.head.kind == "multilabel":  # images have different numbers of labels, and each map a row
            grid += [_row(found, index, place) for place in own]
            continue
        cells: list[GridCell] = [image_cell(photos, index)]
        for place in own:
            said = f"{model.categories[int(found.classes[place])]} ({probabilities[place]:.2f})"
            if found.versus is not None:
                said += f", not {model.categories[int(found.versus[place])]}"
            cells.append(heat(method, found.maps[place], caption=said))
            if not by_truth:
                cells.append(heat(method, found.maps[place], over=found.model.displayed(pixels)))
        if by_truth:
            cells.append(heat(method, found.maps[own[-1]], over=found.model.displayed(pixels)))
        grid.append(tuple(cells))
    maps = 1 if model.head.kind == "multilabel" else int((found.rows == 0).sum())
    return ImageGrid(
        tuple(grid),
        title=f"{method.name}, {model.name}",
        columns=("image", "true class", "predicted class", "overlay, predicted")
        if by_truth
        else ("image", *("map", "map over the image") * maps),
        caption=f"Where {model.name} finds the evidence for a class, by {method.name}. Below each map: the "
        "class and its probability. "
        + ("Red speaks for the class, blue against it. " if method.signed else "Brighter counts more. ")
        + ("The maps are of the difference between the scores of two classes. " if found.versus is not None else "")
        + "Each map has its own scale, up to its 99th percentile.",
    )


def _row(found: Explanations, index: int, place: int) -> tuple[GridCell, ...]:
    """An image, the map of one of its labels, and the map over the image."""
    said = f"{found.model.categories[int(found.classes[place])]} ({float(found.probabilities[place]):.2f})"
    pixels, attribution = found.model.displayed(found.photos.pixels[index]), found.maps[place]
    cells = heat(found.method, attribution, caption=said), heat(found.method, attribution, over=pixels)
    return (image_cell(found.photos, index), *cells)


def _table(found: Explanations) -> Table:
    columns = (Column("image"), Column("class explained"), Column("probability", ".3f"), Column("predicted"))
    own = found.columns()
    names = [path.name for path in found.paths]
    cells = [[names[row] for row in found.rows.tolist()], own["class"], own["probability"], own["predicted"]]
    if "versus" in own:
        columns, cells = (*columns, Column("and not")), [*cells, own["versus"]]
    rows = zip(*cells)
    return Table(columns, tuple(rows), title="Maps")
