"""Generative adversarial networks: DCGAN with and without classes, its losses, and measures of its images."""

from deepscope.gans.along import LatentDirections, latent_directions
from deepscope.gans.architecture import Architecture
from deepscope.gans.clusters import clusters
from deepscope.gans.directions import Directions, find_directions
from deepscope.gans.evaluation import GANEvaluation, evaluate_gan, evaluate_images
from deepscope.gans.evaluator_training import TrainedEvaluator, train_evaluator
from deepscope.gans.fitting import TrainedGAN, train_gan
from deepscope.gans.grid import ClassGrid, class_grid
from deepscope.gans.networks import Discriminator, Generator
from deepscope.gans.objectives import Hinge, LeastSquares, NonSaturating, Objective, Saturating, WassersteinGP
from deepscope.gans.penalties import gradient_penalty, r1
from deepscope.gans.pictures import DIGITS, Labelled, Pictures, load_pictures, stacked
from deepscope.gans.recipe import Recipe, r1_regularised
from deepscope.gans.samples import Interpolation, Samples, interpolate, sample
from deepscope.gans.sampling import balanced, calibrate, drawn, generate, great_circle, latents
from deepscope.gans.saved import GAN, holds_generator, load, save
from deepscope.gans.sheets import Sheets, sheet
from deepscope.gans.stability import diagnose, diversity
from deepscope.gans.step import GANBatches, GANStep
from deepscope.registry import discover

__all__ = [
    "DIGITS",
    "GAN",
    "Architecture",
    "ClassGrid",
    "Directions",
    "Discriminator",
    "GANBatches",
    "GANEvaluation",
    "GANStep",
    "Generator",
    "Hinge",
    "Interpolation",
    "Labelled",
    "LatentDirections",
    "LeastSquares",
    "NonSaturating",
    "Objective",
    "Pictures",
    "Recipe",
    "Samples",
    "Saturating",
    "Sheets",
    "TrainedEvaluator",
    "TrainedGAN",
    "WassersteinGP",
    "balanced",
    "calibrate",
    "class_grid",
    "clusters",
    "diagnose",
    "diversity",
    "drawn",
    "evaluate_gan",
    "evaluate_images",
    "find_directions",
    "generate",
    "gradient_penalty",
    "great_circle",
    "holds_generator",
    "interpolate",
    "latent_directions",
    "latents",
    "load",
    "load_pictures",
    "r1",
    "r1_regularised",
    "sample",
    "save",
    "sheet",
    "stacked",
    "train_evaluator",
    "train_gan",
]

discover(__name__)
