import torch

from gantrain.data import Batches, ChannelNorm, Digits, GaussianRing, ImageSet


def coloured():
    """Images whose channels differ in mean and spread."""
    source = torch.Generator().manual_seed(0)
    spread = torch.tensor([10.0, 40.0, 70.0]).view(3, 1, 1)
    values = (
        100 + torch.tensor([0.0, 30.0, -20.0]).view(3, 1, 1) + spread * torch.randn(1500, 3, 4, 4, generator=source)
    )
    return ImageSet(values.clamp(0, 255).to(torch.uint8), None, 0)


def test_each_channel_of_the_data_gets_mean_zero_and_deviation_one():
    data = coloured()
    out = ChannelNorm.of(data)(data.decode(data.samples)).double()
    for channel in range(3):
        assert abs(out[:, channel].mean()) < 1e-5
        assert abs(out[:, channel].std(correction=0) - 1) < 1e-5


def test_it_is_the_plain_mean_and_deviation_of_the_decoded_samples():
    data = coloured()
    decoded = data.samples.double() / 127.5 - 1
    standardise = ChannelNorm.of(data)
    assert torch.allclose(standardise.mean.double(), decoded.mean(dim=(0, 2, 3)), atol=1e-6)
    assert torch.allclose(standardise.std.double(), decoded.std(dim=(0, 2, 3), correction=0), atol=1e-6)


def test_batches_and_points_and_constant_channels():
    batch = Batches(Digits(), 4, seed=0)(0, 0)
    assert ChannelNorm.of(Digits())(batch.real).shape == batch.real.shape
    ring = GaussianRing()
    assert ChannelNorm.of(ring)(ring.samples).std(dim=0).sub(1).abs().max() < 1e-3
    flat = ImageSet(torch.full((5, 1, 2, 2), 9, dtype=torch.uint8), None, 0)
    assert not ChannelNorm.of(flat)(flat.decode(flat.samples)).any()


def test_its_numbers_travel_with_the_state():
    data = coloured()
    twin = ChannelNorm(torch.zeros(3), torch.ones(3))
    twin.load_state_dict(ChannelNorm.of(data).state_dict())
    x = data.decode(data.samples[:2])
    assert torch.equal(twin(x), ChannelNorm.of(data)(x))
    assert not list(twin.parameters())
