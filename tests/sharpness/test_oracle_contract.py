import pytest

from gantrain.sharpness import AESAM, ESAM, GSAM, SAM, GradientNorm, SAMPa
from gantrain.testing import OracleContract


class TestSAM(OracleContract):
    copies = 1

    def make(self):
        return SAM(rho=0.1)

    def make_flat(self):
        return SAM(rho=0.0)


@pytest.mark.slow
class TestSAMOverAllProcesses(OracleContract):
    copies = 1

    def make(self):
        return SAM(rho=0.1, ascent="global")


class TestASAM(OracleContract):
    copies = 1

    def make(self):
        return SAM(rho=0.1, geometry="elementwise")

    def make_flat(self):
        return SAM(rho=0.0, geometry="elementwise")


class TestOptSAM(OracleContract):
    copies = 1
    gradients = 1

    def make(self):
        return SAM(rho=0.1, direction="previous")

    def make_flat(self):
        return SAM(rho=0.0, direction="previous")


class TestRandSAM(OracleContract):
    copies = 1
    gradients = 1

    def make(self):
        return SAM(rho=0.1, direction="random")

    def make_flat(self):
        return SAM(rho=0.0, direction="random")


@pytest.mark.slow
class TestMSAM(OracleContract):
    gradients = 1

    def make(self):
        return SAM(rho=0.1, direction="momentum")


@pytest.mark.slow
class TestVaSSO(OracleContract):
    copies = 3

    def make(self):
        return SAM(rho=0.1, direction="smoothed", theta=0.3)


@pytest.mark.slow
class TestVaSSOOverAllProcesses(OracleContract):
    copies = 3

    def make(self):
        return SAM(rho=0.1, direction="smoothed", theta=0.3, ascent="global")


@pytest.mark.slow
class TestFSAM(OracleContract):
    copies = 3

    def make(self):
        return SAM(rho=0.1, direction="friendly")


@pytest.mark.slow
class TestSAMON(OracleContract):
    def make(self):
        return SAM(rho=0.1, only="norm")

    def make_flat(self):
        return SAM(rho=0.0, only="norm")


@pytest.mark.slow
class TestSAMDb(OracleContract):
    copies = 1

    def make(self):
        return SAM(rho=0.1, other_batch=True)


class TestLookSAM(OracleContract):
    copies = 3
    gradients = (2, 1)

    def make(self):
        return SAM(rho=0.1, every=2)

    def make_flat(self):
        return SAM(rho=0.0, every=2)


@pytest.mark.slow
class TestLookSAMWithAllOfTheOthers(OracleContract):
    gradients = (3, 1)

    def make(self):
        return SAM(rho=0.1, every=2, climb="tanh", direction="friendly", only="norm", ascent="global", other_batch=True)


@pytest.mark.slow
class TestLookSAMOfRandSAM(OracleContract):
    gradients = (2, 1)

    def make(self):
        return SAM(rho=0.1, every=2, direction="random")


class TestBiSAMTanh(OracleContract):
    copies = 1

    def make(self):
        return SAM(rho=0.1, climb="tanh")

    def make_flat(self):
        return SAM(rho=0.0, climb="tanh")


@pytest.mark.slow
class TestBiSAMLog(OracleContract):
    copies = 1

    def make(self):
        return SAM(rho=0.1, climb="log", mu=1.0)

    def make_flat(self):
        return SAM(rho=0.0, climb="log", mu=1.0)


@pytest.mark.slow
class TestSAMPa0(OracleContract):
    copies = 2
    first = 1

    def make(self):
        return SAMPa(rho=0.1, mix=0.0)

    def make_flat(self):
        return SAMPa(rho=0.0, mix=0.0)


class TestSAMPa02(OracleContract):
    copies = 2
    first = 1

    def make(self):
        return SAMPa(rho=0.1, mix=0.2, cosine=True)


@pytest.mark.slow
class TestSAMPa1(OracleContract):
    copies = 2
    first = 1

    def make(self):
        return SAMPa(rho=0.1, mix=1.0, ascent="local")


class TestSAMPaTanh(OracleContract):
    copies = 3
    first = 1

    def make(self):
        return SAMPa(rho=0.1, mix=0.2, climb="tanh")

    def make_flat(self):
        return SAMPa(rho=0.0, mix=0.0, climb="tanh")


@pytest.mark.slow
class TestSAMPaElementwise(OracleContract):
    copies = 2
    first = 1

    def make(self):
        return SAMPa(rho=0.1, mix=0.2, geometry="elementwise")


class TestGSAM(OracleContract):
    copies = 2

    def make(self):
        return GSAM(rho=0.1, alpha=0.3)

    def make_flat(self):
        return GSAM(rho=0.0, alpha=0.3)


@pytest.mark.slow
class TestGradientNorm(OracleContract):
    copies = 2

    def make(self):
        return GradientNorm(rho=0.1, alpha=0.6, ascent="global")

    def make_flat(self):
        return GradientNorm(rho=0.0, alpha=0.6)


class TestESAM(OracleContract):
    copies = 2

    def make(self):
        return ESAM(rho=0.1, beta=0.6, gamma=0.5)

    def make_flat(self):
        return ESAM(rho=0.0, beta=0.6, gamma=1.0)


@pytest.mark.slow
class TestESAMTanh(OracleContract):
    copies = 2

    def make(self):
        return ESAM(rho=0.1, beta=0.6, gamma=0.25, climb="tanh", geometry="elementwise")


class TestAESAMInEachMove(OracleContract):
    copies = 1

    def make(self):
        return AESAM(rho=0.1, threshold=-100.0)

    def make_flat(self):
        return AESAM(rho=0.0, threshold=-100.0)


class TestSAMPaSmoothed(OracleContract):
    copies = 3
    first = 1

    def make(self):
        return SAMPa(rho=0.1, mix=0.2, direction="smoothed", theta=0.3, cosine=True)


@pytest.mark.slow
class TestSAMPaSmoothedOverNorms(OracleContract):
    first = 1

    def make(self):
        return SAMPa(rho=0.1, mix=0.2, climb="tanh", ascent="local", direction="smoothed", theta=0.3, only="norm")
