"""A metric of your own: density and coverage (Naeem et al., Reliable fidelity and diversity metrics, 2020).

gantrain train configs/quickstart.yaml run.name=own_metric evaluate.best=coverage \
    evaluate.metrics='[fid, {target: "examples.metric:DensityAndCoverage", neighbours: 3}]'
gantrain eval checkpoints/own_metric
"""

import torch

import gantrain as gt


class DensityAndCoverage(gt.Metric):
    """How many fakes lie near real samples, and how many real samples have a fake near.

    Args:
        neighbours: "near" is nearer than the nearest neighbour of this number.
    """

    better = {"density": "higher", "coverage": "higher"}

    def __init__(self, neighbours: int = 5):
        self.neighbours = neighbours
        self.least = neighbours + 1

    def measure(self, fake, real):
        radius = torch.cdist(real.features, real.features).kthvalue(self.neighbours + 1).values
        near = torch.cdist(real.features, fake.features) < radius[:, None]
        return {"density": near.sum(0).float().mean() / self.neighbours, "coverage": near.any(1).float().mean()}
