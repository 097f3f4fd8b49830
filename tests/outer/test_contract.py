from gantrain.outer import GDA, RAPP, CEGPlus, Extragradient, ExtragradientPlus, Lookahead, Optimistic
from gantrain.testing import OuterContract


class TestGDA(OuterContract):
    def make(self):
        return GDA()


class TestAlternatingGDA(OuterContract):
    def make(self):
        return GDA(order="alternating")


class TestExtragradient(OuterContract):
    gradients = 2

    def make(self):
        return Extragradient()


class TestExtragradientPlus(OuterContract):
    gradients = 2

    def make(self):
        return ExtragradientPlus()


class TestOptimistic(OuterContract):
    def make(self):
        return Optimistic()


class TestRAPP(OuterContract):
    gradients = 4

    def make(self):
        return RAPP(inner_steps=4, relaxation=0.5)


class TestAlternatingRAPPOnTheSameSamples(OuterContract):
    gradients = 4

    def make(self):
        return RAPP(inner_steps=4, relaxation=0.5, order="alternating", samples="same")


class TestCEGPlus(OuterContract):
    gradients = 2

    def make(self):
        return CEGPlus()


class TestAdaptiveCEGPlus(OuterContract):
    gradients = 2

    def make(self):
        return CEGPlus(relaxation=1.0, adaptive=True)


class TestLookahead(OuterContract):
    cycle = 3

    def make(self):
        return Lookahead(inner_steps=3)


class TestLookaheadOverExtragradient(OuterContract):
    gradients, cycle = 2, 3

    def make(self):
        return Lookahead(inner_steps=3, base=Extragradient())


class TestLookaheadOverOptimistic(OuterContract):
    cycle = 2

    def make(self):
        return Lookahead(inner_steps=2, base=Optimistic())


class TestNestedLookahead(OuterContract):
    cycle = 6

    def make(self):
        return Lookahead(inner_steps=2, base=Lookahead(inner_steps=3))
