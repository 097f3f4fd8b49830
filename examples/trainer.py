"""A GAN on handwritten digits, trained from Python without a config; a second call goes on where the first stopped.

python examples/trainer.py [STEPS]
"""

import sys

import torch

import gantrain as gt

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
torch.manual_seed(0)
data = gt.data.Digits(size=8)

# Networks built from the spec of the data; any nn.Module does that is called as in gt.Generator and gt.Discriminator.
spec = data.spec.unconditional()
generator = gt.models.ConvGenerator(spec, width=16, norm="none")
discriminator = gt.models.ConvDiscriminator(spec, width=16)
game = gt.games.GAN(generator, discriminator, loss=gt.games.losses.NonSaturating(), spec=data.spec)

# Players in the order in which they move, each with an optimizer and, if you like, a gradient oracle.
learners = [
    gt.Learner(
        player,
        torch.optim.Adam(player.parameters, lr=1e-3, betas=(0.0, 0.9)),
        gt.sharpness.SAM(rho=0.01) if name == "discriminator" else None,
    )
    for name, player in game.players.items()
]

trainer = gt.Trainer(
    game,
    learners,
    gt.outer.Lookahead(inner_steps=5, relaxation=0.5, base=gt.outer.GDA(order="alternating")),
    gt.data.Batches(data, batch_size=64, seed=0),
    gt.Run(name="from_python", steps=steps),
    ema=gt.EMA(generator, decay=0.99),
    callbacks=[gt.callbacks.SampleGrid(game, data, every=max(1, steps // 4), count=64, seed=0)],
)
folder = trainer.fit(resume=True)
print(f"the samples are in {folder / 'samples'}")
