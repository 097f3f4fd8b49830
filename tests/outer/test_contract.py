import pytest

from gantrain.outer import (
    GDA,
    RAMPAGE,
    RAPP,
    AnchoredExtragradient,
    CEGPlus,
    CorrectedProximalPoint,
    Extragradient,
    ExtragradientPlus,
    FastExtragradient,
    Lookahead,
    Optimistic,
)
from gantrain.testing import OuterContract


class TestGDA(OuterContract):
    copies = 0

    def make(self):
        return GDA()


class TestAlternatingGDA(OuterContract):
    copies = 0

    def make(self):
        return GDA(order="alternating")


class TestExtragradient(OuterContract):
    copies = 1
    gradients = 2

    def make(self):
        return Extragradient()


class TestExtragradientPlus(OuterContract):
    copies = 1
    gradients = 2

    def make(self):
        return ExtragradientPlus()


class TestOptimistic(OuterContract):
    copies = 2

    def make(self):
        return Optimistic()


class TestExtragradientWithCriticSteps(OuterContract):
    copies = 1
    gradients, critic_steps = 2, 3

    def make(self):
        return Extragradient(critic_steps=3)


@pytest.mark.slow
class TestOptimisticWithCriticSteps(OuterContract):
    copies = 3  # two gradients more of one of the two players
    critic_steps = 3

    def make(self):
        return Optimistic(critic_steps=3)


@pytest.mark.slow
class TestAlternatingRAPPWithCriticStepsOnTheSameSamples(OuterContract):
    copies = 1
    gradients, critic_steps = 4, 2

    def make(self):
        return RAPP(inner_steps=4, relaxation=0.5, order="alternating", samples="same", critic_steps=2)


class TestRAPP(OuterContract):
    copies = 1
    gradients = 4

    def make(self):
        return RAPP(inner_steps=4, relaxation=0.5)


@pytest.mark.slow
class TestAlternatingRAPPOnTheSameSamples(OuterContract):
    copies = 1
    gradients = 4

    def make(self):
        return RAPP(inner_steps=4, relaxation=0.5, order="alternating", samples="same")


class TestCEGPlus(OuterContract):
    copies = 3
    gradients = 2

    def make(self):
        return CEGPlus()


@pytest.mark.slow
class TestAdaptiveCEGPlus(OuterContract):
    copies = 3.5  # and the products of one tensor
    gradients = 2

    def make(self):
        return CEGPlus(relaxation=1.0, adaptive=True)


@pytest.mark.slow
class TestAnchoredExtragradient(OuterContract):
    copies = 2
    gradients = 2

    def make(self):
        return AnchoredExtragradient()


class TestFastExtragradient(OuterContract):
    copies = 2
    gradients = 2

    def make(self):
        return FastExtragradient(comonotonicity=-0.002)


class TestRAMPAGE(OuterContract):
    copies = 1
    gradients = 2

    def make(self):
        return RAMPAGE()


@pytest.mark.slow
class TestRAMPAGEPlus(OuterContract):
    copies = 2
    gradients = 3

    def make(self):
        return RAMPAGE(antithetic=True, relaxation=0.5, samples="same")


class TestCorrectedProximalPoint(OuterContract):
    copies = 3.5  # and the products of one tensor
    gradients = 4

    def make(self):
        return CorrectedProximalPoint(inner_steps=3, comonotonicity=-0.001)


class TestLookahead(OuterContract):
    copies = 1
    cycle = 3

    def make(self):
        return Lookahead(inner_steps=3)


@pytest.mark.slow
class TestLookaheadOverExtragradient(OuterContract):
    copies = 2
    gradients, cycle = 2, 3

    def make(self):
        return Lookahead(inner_steps=3, base=Extragradient())


@pytest.mark.slow
class TestLookaheadOverOptimistic(OuterContract):
    copies = 3
    cycle = 2

    def make(self):
        return Lookahead(inner_steps=2, base=Optimistic())


@pytest.mark.slow
class TestLookaheadOverExtragradientWithCriticSteps(OuterContract):
    copies = 2
    gradients, cycle, critic_steps = 2, 3, 2

    def make(self):
        return Lookahead(inner_steps=3, base=Extragradient(critic_steps=2))


@pytest.mark.slow
class TestLookaheadOverAnchoredExtragradient(OuterContract):
    copies = 3
    gradients, cycle = 2, 2

    def make(self):
        return Lookahead(inner_steps=2, base=AnchoredExtragradient())


class TestNestedLookahead(OuterContract):
    copies = 2
    cycle = 6

    def make(self):
        return Lookahead(inner_steps=2, base=Lookahead(inner_steps=3))
