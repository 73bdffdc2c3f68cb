"""How tests of concepts are shown."""

from __future__ import annotations

from deepscope.concepts import ConceptTest, ConceptTests
from deepscope.names import counted
from deepscope.presenters.shown import origin, picture, skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, ImageGrid, Note, Result, Table


@presents(ConceptTests)
def present(found: ConceptTests) -> Result:
    """A verdict, images of each concept, and a table of all tests."""
    return Result(
        title=f"Concepts of {found.model.name}: {', '.join(found.concepts)}",
        metrics={
            "tests": len(found),
            "significant": sum(one.significant for one in found.tests),
            "random-sets": found.random_sets,
            "random-sets/needed": found.needed,
            **{name: value for one in found.tests for name, value in _metrics(one).items()},
        },
        blocks=(_verdict(found), *_too_few(found), _images(found), _table(found), *skipped_blocks(found.skipped)),
        provenance=origin([found.model], found.paths, found.digests),
    )


def _metrics(one: ConceptTest) -> dict[str, float]:
    concept, layer, target = one.concept, one.layer, one.target
    return {
        f"score/{concept}/{layer}/{target}": one.found.score,
        f"effect/{concept}/{layer}/{target}": one.found.effect,
        f"p-adjusted/{concept}/{layer}/{target}": one.adjusted,
    }


def _verdict(found: ConceptTests) -> Note:
    significant = [one for one in found.tests if one.significant]
    if not significant:
        text = f"The class scores depend on none of the concepts more than on random images, in {len(found)} tests."
        return Note(text, "Concepts", "verdict")
    said = "; ".join(
        f"{one.concept} {'raises' if one.found.effect > 0 else 'lowers'} {one.target} at {one.layer} "
        f"(TCAV score {one.found.score:.2f}, adjusted p {one.adjusted:.2g})"
        for one in significant[:4]
    )
    more = f"; and {len(significant) - 4} more" if len(significant) > 4 else ""
    return Note(f"{len(significant)} of {len(found)} tests are significant: {said}{more}.", "Concepts", "verdict")


def _too_few(found: ConceptTests) -> tuple[Block, ...]:
    if found.random_sets >= found.needed:
        return ()
    text = (
        f"{found.random_sets} random sets cannot make any of {len(found)} tests significant: the smallest adjusted "
        f"p-value is {min(1.0, len(found) / (found.random_sets + 1)):.2g}. Use at least {found.needed}."
    )
    return (Note(text, "Too few random sets", "warning"),)


def _images(found: ConceptTests) -> ImageGrid:
    rows = tuple(
        tuple(picture(pixels, caption=name if not place else "") for place, pixels in enumerate(shown))
        for name, shown in found.pictures.items()
        if shown
    )
    caption = ", ".join(f"{name}: {counted(count, 'image')}" for name, count in found.concepts.items())
    return ImageGrid(rows, "Concepts", f"{caption}.")


def _table(found: ConceptTests) -> Table:
    columns = (
        *(Column("concept"), Column("layer"), Column("class"), Column("TCAV score", ".2f")),
        *(Column("random score", ".2f"), Column("effect", "+.1f"), Column("accuracy", ".2f")),
        *(Column("p", ".4f"), Column("adjusted p", ".4f")),
    )
    rows = tuple(
        (
            *(one.concept, one.layer, one.target, one.found.score, one.found.random_score),
            *(one.found.effect, one.found.accuracy, one.found.p_value, one.adjusted),
        )
        for one in found.tests
    )
    images = ", ".join(f"{count} of {name}" for name, count in found.images.items())
    caption = (
        f"Images: {images}. TCAV score: share of them whose class score rises in the concept's direction. Effect: "
        f"change of the class score towards the concept, in standard deviations of that of {found.random_sets} random "
        f"sets, drawn from concept and pool ({counted(found.pool, 'image')}) together. p: its permutation test, "
        "two-sided; adjusted for all tests (Holm). Accuracy: of the classifiers between the concept and the pool, "
        "cross-validated; near 0.5 the direction means nothing."
    )
    return Table(columns, rows, "Tests", caption)
