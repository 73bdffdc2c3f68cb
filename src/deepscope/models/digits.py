"""Networks for digits: that of Ganin and Lempitsky (2015), which adapted classifiers are saved as, and a robust one."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

NAME, STRIDED = "digits", "digits-strided"
SIDE = 28


def network() -> nn.Sequential:
    """(N, 3, 28, 28) -> (N, 100): two 5 x 5 convolutions and two hidden layers, without the class layer."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 32, 5),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 48, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            hidden1=nn.Linear(768, 100),
            relu3=nn.ReLU(),
            hidden2=nn.Linear(100, 100),
            relu4=nn.ReLU(),
        )
    )


def strided() -> nn.Sequential:
    """(N, 3, 28, 28) -> (N, 100): the network of Wong et al. (2020), which trains robustly: strides, no pooling."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 16, 4, stride=2, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 4, stride=2, padding=1),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            hidden=nn.Linear(1568, 100),
            relu3=nn.ReLU(),
        )
    )
