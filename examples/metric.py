"""A metric of your own: the Vendi score (Friedman and Dieng, The Vendi score: a diversity evaluation metric, 2023).

gantrain train configs/quickstart.yaml run.name=own_metric evaluate.best=vendi_score \
    evaluate.metrics='[fid, {target: "examples.metric:VendiScore", samples: 500}]'
gantrain eval checkpoints/own_metric
"""

import torch
from torch.nn.functional import normalize

import gantrain as gt


class VendiScore(gt.Metric):
    """How many samples that share nothing would be as diverse as these: from 1, if all are alike, to their number.

    Args:
        samples: at most so many samples are compared with each other.
    """

    better = {"vendi_score": "higher"}
    compares = False

    def __init__(self, samples: int = 1000):
        self.samples = samples

    def measure(self, fake, real):
        features = normalize(fake.features[: self.samples].double())
        shares = torch.linalg.eigvalsh(features @ features.T / len(features)).clamp(min=0)
        return torch.special.entr(shares).sum().exp()
