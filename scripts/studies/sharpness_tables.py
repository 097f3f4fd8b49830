"""The tables and the picture of study B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from sharpness_methods import FIXED, METHODS, RANDOM_RHO, RELATIVE_RHO, RHO, WEIGHT_DECAY, Axis, Point
from sharpness_runs import Sharpness, finite

from gantrain.utils.statistics import Difference, Estimate, holm, paired, simultaneous

# Runs with a lower accuracy have collapsed: they predict one of ten classes, or hardly more. In per cent.
COLLAPSED = 20.0
# By less than so many points, a method that is worse counts as not worse.
MARGIN = 1.0
ORACLES = [name for name, method in METHODS.items() if method.axis in (RHO, RELATIVE_RHO, RANDOM_RHO)]
# Those that claim to improve on SAM.
VARIANTS = ("asam", "sampa_0", "sampa_0.2", "bisam_tanh", "bisam_log")
# The hypotheses: the first is better than the second, or no worse.
HYPOTHESES = (("sam", "sgd"), ("sampa_0.2", "sam"), ("bisam_tanh", "sam"))


class Tables:
    """The tables and the picture of one problem.

    Args:
        study: what was measured of it.
    """

    def __init__(self, study: Sharpness):
        self.study = study

    def report(self) -> str:
        """The tables as text, those of each noise of which all is measured."""
        lines: list[str] = []
        whole = [noise for noise in self.study.problem.noises if self.study.is_whole(noise)]
        for noise in whole:
            searches = {m: self.study.search(m, noise) for m in METHODS}
            title = f"{noise:.0%} label noise"
            fixed = {m: found.fixed for m, found in searches.items() if found.fixed}
            joint = {m: found.joint for m, found in searches.items() if found.joint}
            lines += [f"{title}, weight decay {FIXED:g}:", *self.reported_table(noise, fixed), ""]
            lines += [f"{title}, weight decay tuned:", *self.reported_table(noise, joint), ""]
            lines += [*self.line_table(noise), ""]
        lines += self.hypotheses(whole)
        return "\n".join(lines).rstrip() + "\n"

    def reported_table(self, noise: float, points: Mapping[str, Point]) -> list[str]:
        """The methods at chosen points with fresh seeds, and their differences from SGD and from SAM."""
        accuracies = {m: self.study.accuracies(m, noise, point, "test") for m, point in points.items()}
        pairs = [(m, "sgd") for m in METHODS if m != "sgd"] + [(m, "sam") for m in VARIANTS]
        compared = differences(accuracies, pairs)
        lines = [
            f"Test accuracy in %, mean ± standard error over seeds {spell(self.study.reported)}.",
            "Differences in points, paired by seed, with the 95 % interval of each; p values are corrected for the",
            f"{len(compared)} comparisons of the table (Holm). *: an end of the ladder; a better one may lie beyond.",
            f"{'method':<16}{'value':>9}{'decay':>9}{'accuracy':>18}{'from sgd':>26}{'p':>8}{'from sam':>26}{'p':>8}",
        ]
        for m, point in points.items():
            line = f"{m:<16}{marked(point.value, METHODS[m].axis):>9}{marked(point.weight_decay, WEIGHT_DECAY):>9}"
            line += f"{shown(accuracies[m]):>18}"
            for base in ("sgd", "sam"):
                found = compared.get((m, base))
                line += f"{spelled(found[0], 0.95):>26}{found[1]:>8.2g}" if found else " " * 34
            lines.append(line.rstrip())
        return lines

    def line_table(self, noise: float) -> list[str]:
        """The accuracies of the methods with a number of their own over it, and how often they collapse."""
        lines = [
            f"{noise:.0%} label noise, weight decay {FIXED:g}: value, and mean validation accuracy in % over seeds "
            f"{spell(self.study.choosing)}.",
            "The value is rho, the share of smoothed labels, or the budget. In brackets: runs that collapsed (below "
            f"{COLLAPSED:g} %) or diverged.",
        ]
        for m in METHODS:
            if METHODS[m].axis is not None:
                cells = []
                for value, accuracies in self.study.line(m, noise).items():
                    lost = sum(a is None or a < COLLAPSED for a in accuracies)
                    numbers = [a for a in accuracies if a is not None]
                    mean = f"{Estimate.of(numbers).mean:.1f}" if numbers else "-"
                    cells.append(f"{value:g}: {mean}" + f" ({lost})" * bool(lost))
                lines.append(f"{m:<16} " + "   ".join(cells))
        return lines

    def hypotheses(self, noises: Sequence[float]) -> list[str]:
        """The answers to the protocol's hypotheses, with the weight decay tuned."""
        found: dict[tuple[float, str, str], Difference] = {}
        for noise in noises:
            points = {m: self.study.search(m, noise).joint for pair in HYPOTHESES for m in pair}
            accuracies = {m: self.study.accuracies(m, noise, point, "test") for m, point in points.items() if point}
            found |= {
                (noise, *pair): difference for pair, (difference, _) in differences(accuracies, HYPOTHESES).items()
            }
        if not found:
            return []
        corrected = holm([difference.p for difference in found.values()])
        confidence = simultaneous(0.95, len(found))
        lines = [
            f"Hypotheses, weight decay tuned: p is corrected for these {len(found)} comparisons (Holm); intervals hold",
            f"together with 95 % (Bonferroni). Not worse: the interval lies above -{MARGIN:g}.",
        ]
        for (noise, one, other), p in zip(found, corrected, strict=True):
            difference = found[noise, one, other]
            answer = verdict(difference, p, confidence)
            lines.append(
                f"{noise:>4.0%}  {f'{one} from {other}':<24}{spelled(difference, confidence):>28}{p:>8.2g}  {answer}"
            )
        return lines

    def picture(self) -> Figure:
        """The validation accuracy over the radius, relative to the first that is tried, for each noise."""
        noises = [noise for noise in self.study.problem.noises if self.study.line("sam", noise)]
        figure = Figure(figsize=(1.8 + 3.6 * max(1, len(noises)), 3.6), layout="constrained")
        for position, noise in enumerate(noises, start=1):
            axes = figure.add_subplot(1, len(noises), position)
            for m in ORACLES:
                axis, line = METHODS[m].axis, self.study.line(m, noise)
                assert axis is not None
                # The axes of ASAM and of random directions have other units.
                means = [Estimate.of([a for a in accuracies if a is not None]).mean for accuracies in line.values()]
                axes.plot([RHO.first[0] * v / axis.first[0] for v in line], means, marker="o", markersize=3, label=m)
            sgd = finite(self.study.accuracies("sgd", noise, Point(None, FIXED), "validation"))
            if sgd:
                axes.axhline(Estimate.of(list(sgd.values())).mean, color="grey", linestyle="--", label="sgd")
            axes.set_xscale("log")
            ticks = [v for v in RHO.ladder if axes.get_xlim()[0] <= v <= axes.get_xlim()[1]]
            axes.set_xticks(ticks, [f"{v:g}" for v in ticks], rotation=45)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set(xlabel="rho (asam: / 10, random_sam: / 8)", title=f"{noise:.0%} label noise")
        if noises:
            figure.axes[0].set_ylabel(f"validation accuracy in %, weight decay {FIXED:g}")
            figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center")
        return figure


def differences(
    accuracies: Mapping[str, Mapping[int, float | None]], pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Difference, float]]:
    """The differences of pairs of methods over the seeds with which both ended, and their p values by Holm."""
    values = {m: finite(of_method) for m, of_method in accuracies.items()}
    found = {(a, b): paired(values[a], values[b]) for a, b in pairs if values[a].keys() & values[b].keys()}
    corrected = holm([difference.p for difference in found.values()])
    return {pair: (difference, p) for (pair, difference), p in zip(found.items(), corrected, strict=True)}


def verdict(difference: Difference, p: float, confidence: float) -> str:
    """What a difference says."""
    if p < 0.05:
        return "better" if difference.mean > 0 else "worse"
    return "not worse" if difference.interval(confidence)[0] > -MARGIN else "open"


def marked(value: float | None, axis: Axis | None) -> str:
    """A chosen value, with a star where it is the first or the last of its ladder."""
    if value is None or axis is None:
        return ""
    return f"{value:g}" + "*" * (value in (axis.ladder[0], axis.ladder[-1]))


def spelled(difference: Difference, confidence: float) -> str:
    low, high = difference.interval(confidence)
    return f"{difference.mean:+.2f} ({low:+.2f} to {high:+.2f})"


def shown(values: Mapping[int, float | None]) -> str:
    """Values of several seeds as mean ± standard error, with the number of runs that diverged in brackets."""
    numbers = list(finite(values).values())
    lost = f" ({len(values) - len(numbers)})" * (len(numbers) < len(values))
    if not numbers:
        return f"-{lost}"
    return f"{Estimate.of(numbers).mean:.2f} ± {Estimate.of(numbers).error:.2f}{lost}"


def spell(seeds: range) -> str:
    return f"{seeds[0]} to {seeds[-1]}"
