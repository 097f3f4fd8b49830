"""The registry of parts: kind -> name -> ``module:Class``. The registry does not import the parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from gantrain.config.features import Features
from gantrain.config.metrics import METRICS
from gantrain.config.signatures import REQUIRED, Parameter, Signature, read_signature, read_source, understood
from gantrain.config.types import PositiveInt


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Args:
        title: the name of the kind in messages.
        interface: ``module:Class`` of the class from which all parts of the kind are derived.
        parts: name -> ``module:Class``.
        supplied: the constructor's first arguments, which the framework gives: name -> what it is, for messages.
        reserved: arguments that a config may not set, because the framework sets them.
        default: the part that is taken where a config names none; None if a config must name one.
        beside: the function from a constructor's signature to the further keys that a config may set. The code that
            builds the part acts on these keys, not the constructor.
        adopts: the name of another class, and a method by which it is known without an import: a class that has the
            method will do although it is not derived from the interface. ``finish`` then makes parts of its objects.
        finish: ``module:function`` that is given each object that was built, and by name the keys that stand beside the
            constructor's. It returns the part.
        schedules: what to do about the arguments whose numbers cannot follow a schedule: name -> advice. None if no
            number of the part can.
        called: ``module:Class`` of the class whose methods say how parts are called, where the interface says less.
    """

    title: str
    interface: str
    parts: dict[str, str] = field(default_factory=dict)
    supplied: dict[str, str] = field(default_factory=dict)
    reserved: tuple[str, ...] = ()
    default: str | None = None
    beside: Callable[[Signature], tuple[Parameter, ...]] = lambda signature: ()
    adopts: tuple[str, str] | None = None
    finish: str | None = None
    schedules: Mapping[str, str] | None = None
    called: str | None = None


# LBFGS calls a closure many times, and our moves have no closure. SparseAdam takes sparse gradients only. torch's Muon
# takes 2-D tensors only; gantrain's Muon takes whole networks.
_NO_OPTIMIZER = ("Optimizer", "LBFGS", "SparseAdam", "Muon")
_WEIGHT_DECAY_ON = Parameter(
    "weight_decay_on",
    Literal["all", "matrices"],
    "all",
    "The parameters that weight_decay decays: all of them, as in torch (the default), or only matrices, which are the "
    "weights of dense, convolutional and embedding layers. Matrices leaves out biases and the scales and shifts of "
    "norms.",
)
_LIMIT = Parameter(
    "limit",
    PositiveInt | None,
    None,
    "The number of samples of a fixed subset, which is the same in every run: as many of each class as possible, and a "
    "larger subset contains a smaller one. A data set that is written as changes of another does not take over its "
    "limit. Null (the default): all samples.",
)
_FEATURES = Parameter(
    "features",
    Features | None,
    None,
    "The network whose features this metric compares, as in evaluate.features. Null (the default) takes those of "
    "evaluate.features, and where that is null too, those by which the metric is defined.",
)
# A scheduler may consist of other schedulers, which YAML can give.
_NESTED = {"LRScheduler": Annotated[Any, "scheduler"]}
# ReduceLROnPlateau needs a metric at each of its steps, which a run does not have.
_NO_SCHEDULER = ("ReduceLROnPlateau",)


# Optimizers have their own schedulers for the learning rate, and Adagrad reads the other one once.
_NO_SCHEDULE = {
    "lr": "the learning rate has schedulers of its own: write scheduler: {name: cosineannealinglr, T_max: 10000} "
    "beside optimizer",
    "initial_accumulator_value": "it is read once, so write a number",
}


# What a network is built for.
_SPEC = {"spec": "the gantrain.data.DataSpec of the data"}


def _in(module: str, **classes: str) -> dict[str, str]:
    return {name: f"gantrain.{module}:{cls}" for name, cls in classes.items()}


def _optimizers() -> dict[str, str]:
    """The classes of torch.optim by lower-case name."""
    imported = read_source("torch.optim").imported
    classes = {name for name, (module, _) in imported.items() if name[0].isupper() and module != "torch.optim"}
    return {name.lower(): f"torch.optim:{name}" for name in sorted(classes.difference(_NO_OPTIMIZER))}


def _decay(signature: Signature) -> tuple[Parameter, ...]:
    """The key ``weight_decay_on``, for optimizers that have a weight decay.

    Muon does not have the key: it moves matrices only, and the optimizer under its key ``rest`` has the key.
    """
    arguments = {p.name for p in signature.parameters}
    return (_WEIGHT_DECAY_ON,) if "weight_decay" in arguments and "rest" not in arguments else ()


def _schedulers() -> dict[str, str]:
    """The classes of torch.optim.lr_scheduler whose arguments YAML can give, by lower-case name."""
    module = "torch.optim.lr_scheduler"
    found = {}
    for name in sorted(read_source(module).classes):
        if name.startswith("_") or name in (*_NO_SCHEDULER, "LRScheduler"):
            continue
        optimizer, *rest = read_signature(f"{module}:{name}", _NESTED).parameters or (None,)
        required = (p for p in rest if p.default is REQUIRED)
        if optimizer and optimizer.name == "optimizer" and all(understood(p.annotation) is not None for p in required):
            found[name.lower()] = f"{module}:{name}"
    return found


@functools.cache
def kind(name: str) -> Kind:
    """The kind of parts that has this name.

    Raises:
        KeyError: there is no such kind.
    """
    return _KINDS[name]()


_KINDS = {
    "outer": lambda: Kind(
        "outer loop",
        "gantrain:Outer",
        _in("outer.gda", gda="GDA")
        | _in("outer.rapp", extragradient="Extragradient", extragradient_plus="ExtragradientPlus", rapp="RAPP")
        | _in("outer.optimistic", optimistic="Optimistic")
        | _in("outer.lookahead", lookahead="Lookahead")
        | _in("outer.ceg_plus", ceg_plus="CEGPlus")
        | _in(
            "outer.anchored",
            anchored_extragradient="AnchoredExtragradient",
            fast_extragradient="FastExtragradient",
        )
        | _in("outer.rampage", rampage="RAMPAGE")
        | _in("outer.corrected_proximal_point", corrected_proximal_point="CorrectedProximalPoint"),
        schedules={},
    ),
    "sharpness": lambda: Kind(
        "gradient oracle",
        "gantrain:Oracle",
        _in("sharpness.sam", sam="SAM")
        | _in("sharpness.sampa", sampa="SAMPa")
        | _in("sharpness.gsam", gsam="GSAM")
        | _in("sharpness.esam", esam="ESAM")
        | _in("sharpness.ae_sam", ae_sam="AESAM")
        | _in("sharpness.gradient_norm", gradient_norm="GradientNorm"),
        schedules={},
    ),
    "constraint": lambda: Kind(
        "constraint",
        "gantrain:Resolvent",
        _in("optim.constraints", box="Box", l2_ball="L2Ball", simplex="Simplex", l1="L1"),
        schedules={},
    ),
    "loss": lambda: Kind(
        "loss",
        "gantrain:Loss",
        _in(
            "games.losses",
            minimax="Minimax",
            non_saturating="NonSaturating",
            hinge="Hinge",
            wasserstein="Wasserstein",
            least_squares="LeastSquares",
            relativistic="Relativistic",
        ),
        schedules={},
    ),
    "penalty": lambda: Kind(
        "penalty",
        "gantrain:Penalty",
        _in("games.penalties.slopes", wgan_gp="WGANGP", r1="R1", r2="R2", dragan="DRAGAN")
        | _in("games.penalties.approximate", approximate_r1="ApproximateR1", approximate_r2="ApproximateR2")
        | _in("games.penalties.lecam", lecam="LeCam")
        | _in("games.penalties.consistency", consistency="Consistency")
        | _in("games.penalties.orthogonal", orthogonal="Orthogonal")
        | _in("games.penalties.path_length", path_length="PathLength")
        | _in("games.penalties.feature_matching", feature_matching="FeatureMatching")
        | _in("games.penalties.auxiliary_classifier", auxiliary_classifier="AuxiliaryClassifier"),
        schedules={},
    ),
    "generator": lambda: Kind(
        "generator",
        "torch.nn:Module",
        _in("models.conv", conv="ConvGenerator")
        | _in("models.mlp", mlp="MLPGenerator")
        | _in("models.dcgan", dcgan="DCGANGenerator")
        | _in("models.sngan", sngan="SNGANGenerator")
        | _in("models.sndcgan", sndcgan="SNDCGANGenerator")
        | _in("models.r3gan", r3gan="R3GANGenerator")
        | _in("models.biggan", biggan="BigGANGenerator")
        | _in("models.fastgan", fastgan="FastGANGenerator")
        | _in("models.stylegan2", stylegan2="StyleGAN2Generator"),
        supplied=_SPEC,
        called="gantrain:Generator",
    ),
    "discriminator": lambda: Kind(
        "discriminator",
        "torch.nn:Module",
        _in("models.conv", conv="ConvDiscriminator")
        | _in("models.mlp", mlp="MLPDiscriminator")
        | _in("models.dcgan", dcgan="DCGANDiscriminator")
        | _in("models.sngan", sngan="SNGANDiscriminator")
        | _in("models.sndcgan", sndcgan="SNDCGANDiscriminator")
        | _in("models.r3gan", r3gan="R3GANDiscriminator")
        | _in("models.biggan", biggan="BigGANDiscriminator")
        | _in("models.fastgan", fastgan="FastGANDiscriminator")
        | _in("models.stylegan2", stylegan2="StyleGAN2Discriminator"),
        supplied=_SPEC,
        called="gantrain:Discriminator",
    ),
    "classifier": lambda: Kind(
        "classifier",
        "torch.nn:Module",
        _in("models.resnet", resnet="ResNet")
        | _in("models.imagenet_resnet", imagenet_resnet="ImageNetResNet")
        | _in("models.vgg", vgg="VGG")
        | _in("models.wide_resnet", wide_resnet="WideResNet")
        | _in("models.densenet", densenet="DenseNet")
        | _in("models.conv", conv="ConvClassifier")
        | _in("models.mlp", mlp="MLPClassifier")
        | _in("models.huggingface.texts", huggingface="HuggingFace")
        | _in("models.huggingface.images", huggingface_images="HuggingFaceImageClassifier"),
        supplied=_SPEC,
        called="gantrain:Classifier",
    ),
    "perturber": lambda: Kind(
        "perturber",
        "torch.nn:Module",
        _in("models.conv", conv="ConvPerturber") | _in("models.mlp", mlp="MLPPerturber"),
        supplied=_SPEC,
        called="gantrain:Perturber",
    ),
    "strategy": lambda: Kind(
        "strategy",
        "gantrain:Strategy",
        _in("models.strategy", vector="Vector", softmax="Softmax"),
        supplied=_SPEC,
        default="vector",
    ),
    "network": lambda: Kind("network", "torch.nn:Module", supplied=_SPEC),
    "data": lambda: Kind(
        "data set",
        "gantrain.data:DataSet",
        _in("data.datasets.digits", digits="Digits")
        | _in("data.datasets.gaussian_ring", gaussian_ring="GaussianRing")
        | _in(
            "data.datasets.torchvision_sets",
            cifar10="CIFAR10",
            cifar100="CIFAR100",
            mnist="MNIST",
            fashion_mnist="FashionMNIST",
            kmnist="KMNIST",
            svhn="SVHN",
            stl10="STL10",
        )
        | _in("data.datasets.celeba", celeba="CelebA")
        | _in("data.datasets.lsun", lsun="LSUN")
        | _in("data.datasets.imagenet", imagenet="ImageNet")
        | _in("data.datasets.oxford", flowers102="Flowers102", oxford_iiit_pet="OxfordIIITPet")
        | _in("data.datasets.image_files", image_folder="ImageFolder", image_archive="ImageArchive")
        | _in("data.datasets.huggingface", huggingface="HuggingFaceImages")
        | _in("data.datasets.array_files", array="ArrayFiles")
        | _in("data.datasets.text", text="Text")
        | _in("data.datasets.glue", glue="GLUE")
        | _in("data.datasets.no_data", none="NoData"),
        beside=lambda signature: (_LIMIT,),
        adopts=("torch.utils.data.Dataset", "__getitem__"),
        finish="gantrain.data.adopted:finished",
    ),
    "game": lambda: Kind(
        "game",
        "gantrain:Game",
        _in("games.gan", gan="GAN")
        | _in("games.classification", classification="Classification")
        | _in("games.regression", regression="Regression")
        | _in("games.adversarial_training", adversarial_training="AdversarialTraining")
        | _in("games.domain_adversarial", domain_adversarial="DomainAdversarial")
        | _in("games.matrix", matrix="Matrix")
        | _in("games.cournot", cournot="Cournot"),
        reserved=("spec",),
        schedules={},
    ),
    "augmentation": lambda: Kind(
        "augmentation",
        "gantrain:Augmentation",
        _in("data.augment", crop="Crop", flip="Flip", cutout="Cutout", color="Color")
        | _in("data.ada", ada="ADA")
        | _in("data.diffaugment", diffaugment="DiffAugment"),
        schedules={},
    ),
    "toy": lambda: Kind(
        "toy game",
        "gantrain.games.toy:SolvedGame",
        _in("games.toy.linear", bilinear="Bilinear", quadratic="Quadratic", lower_bound="LowerBound")
        | _in("games.toy.cycles", forsaken="Forsaken", global_forsaken="GlobalForsaken", polar="PolarGame")
        | _in("games.toy.dirac", dirac="DiracGAN")
        | _in("games.toy.random_quadratic", random_quadratic="RandomQuadratic"),
    ),
    "metric": lambda: Kind(
        "metric",
        "gantrain:Metric",
        {key: description.target for key, description in METRICS.items()},
        beside=lambda signature: (_FEATURES,),
    ),
    "callback": lambda: Kind("callback", "gantrain:Callback", reserved=("game", "data", "config")),
    "tracker": lambda: Kind(
        "tracker",
        "accelerate.tracking:GeneralTracker",
        _in("runs.trackers", wandb="WandB", mlflow="MLflow"),
        reserved=("run_name", "logging_dir"),
    ),
    "optimizer": lambda: Kind(
        "optimizer",
        "torch.optim:Optimizer",
        _optimizers()
        | _in("optim.muon", muon="Muon")
        | _in("optim.mirror", mirror="Mirror")
        | _in("optim.optimistic_adam", optimistic_adam="OptimisticAdam"),
        supplied={"params": "the parameters that it moves"},
        beside=_decay,
        schedules=_NO_SCHEDULE,
    ),
    "scheduler": lambda: Kind(
        "scheduler",
        "torch.optim.lr_scheduler:LRScheduler",
        _schedulers(),
        supplied={"optimizer": "the player's optimizer"},
        reserved=("last_epoch",),
    ),
}

KINDS = tuple(_KINDS)
