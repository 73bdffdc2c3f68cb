"""The proxy A-distance of two samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def proxy_a_distance(first: Tensor, second: Tensor) -> float:
    """2 (1 - 2 e), where e is a linear classifier's balanced error in telling (N, F) from (M, F), cross-validated.

    From 0 (alike) to 2. Ben-David et al., "Analysis of Representations for Domain Adaptation", 2007.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = torch.cat([first, second]).double().numpy()
    domains = np.repeat([0, 1], [len(first), len(second)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e-2, max_iter=200, class_weight="balanced"))
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    accuracy = cross_val_score(classifier, features, domains, cv=folds, scoring="balanced_accuracy").mean()
    return max(0.0, float(2 * (2 * accuracy - 1)))  # by chance the classifier may be worse than guessing
