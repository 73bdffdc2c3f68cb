"""Generative adversarial networks: DCGAN with and without classes, its games, and what its images are worth."""

from deepscope.gans.architecture import Architecture
from deepscope.gans.clusters import clusters
from deepscope.gans.film import Film, sheet
from deepscope.gans.fitting import Trained, train_gan
from deepscope.gans.networks import Discriminator, Generator
from deepscope.gans.objectives import Hinge, LeastSquares, NonSaturating, Objective, Saturating, WassersteinGP
from deepscope.gans.penalties import gradient_penalty, r1
from deepscope.gans.pictures import DIGITS, Labelled, Pictures, load_pictures, stacked
from deepscope.gans.recipe import Recipe, steady
from deepscope.gans.sampling import balanced, calibrate, drawn, generate, interpolate, latents
from deepscope.gans.saved import Gan, load, save
from deepscope.gans.stability import diagnose, diversity
from deepscope.gans.step import GanBatches, GanStep
from deepscope.registry import discover

__all__ = [
    "DIGITS",
    "Architecture",
    "Discriminator",
    "Film",
    "Gan",
    "GanBatches",
    "GanStep",
    "Generator",
    "Hinge",
    "Labelled",
    "LeastSquares",
    "NonSaturating",
    "Objective",
    "Pictures",
    "Recipe",
    "Saturating",
    "Trained",
    "WassersteinGP",
    "balanced",
    "calibrate",
    "clusters",
    "diagnose",
    "diversity",
    "drawn",
    "generate",
    "gradient_penalty",
    "interpolate",
    "latents",
    "load",
    "load_pictures",
    "r1",
    "save",
    "sheet",
    "stacked",
    "steady",
    "train_gan",
]

discover(__name__)
