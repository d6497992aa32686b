"""How measured things are called and written: titles of metrics, numbers with intervals, sizes, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["HEADLINES", "Sorted", "better", "headline", "interval", "sort_metrics", "title"]

# the number that stands for a bundle, the first that was measured, when its report names none
HEADLINES = ("dice_mean", "f1", "auc", "auc_macro", "psnr", "vif", "dose_score")
# metrics of which a smaller one is better
SMALLER = ("dose_score", "dvh_score")
TITLES = {
    "dice": "Dice",
    "dice_mean": "mean Dice",
    "iou": "IoU",
    "iou_mean": "mean IoU",
    "hausdorff95": "HD95",
    "hausdorff95_mean": "mean HD95",
    "dice_second_observer": "Dice, second observer",
    "dice_against_second_observer": "Dice against second observer",
    "circumference_error_mm": "circumference error, mm",
    "circumference_bias_mm": "circumference bias, mm",
    "auc": "AUC",
    "auc_macro": "macro AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "f1": "F1 at IoU 0.5",
    "f1_pooled": "F1, objects pooled",
    "precision": "precision",
    "recall": "recall",
    "average_precision": "AP, IoU 0.5 to 0.95",
    "aji": "AJI",
    "pq": "PQ",
    "folding_percent": "folding in %",
    "dose_score": "dose score in Gy",
    "dvh_score": "DVH score in Gy",
    "psnr": "PSNR in dB",
    "ssim": "SSIM",
    "nmse": "NMSE",
    "entropy": "entropy in bits",
    "mutual_information": "mutual information in bits",
    "vif": "VIF",
    "uncertainty_correlation": "uncertainty with error, in a case",
    "uncertainty_by_case": "uncertainty with error, by case",
}
# metrics that are written with two digits
SHORT = ("hausdorff", "psnr")
# of the outlines of classes 1, 2, ... in the pictures
COLOUR_WORDS = ("red", "cyan", "yellow", "green", "violet")
Entry = Mapping[str, Any]


def title(metric: str) -> str:
    """What a reader calls a metric.

    Example:
        >>> title("dice_mean"), title("surface_dice_mean")
        ('mean Dice', 'surface dice mean')
    """
    return TITLES.get(metric, metric.replace("_", " "))


def headline(entry: Entry) -> str:
    """Returns the metric that stands for a bundle.

    Args:
        entry: a stored evaluation.

    Raises:
        ValueError: when it holds none of ``HEADLINES``.
    """
    named = (entry.get("headline", ""), *HEADLINES)
    found = next((name for name in named if name in entry["metrics"]), None)
    if found is None:
        raise ValueError(
            f"the evaluation holds none of {', '.join(HEADLINES)}: evaluate with a report of the collection"
        )
    return found


def better(metric: str, one: float, other: float) -> bool:
    """Whether one value of a metric is better than another.

    Example:
        >>> better("dice_mean", 0.9, 0.8), better("dose_score", 3.0, 2.5)
        (True, False)
    """
    return one < other if metric in SMALLER else one > other


def interval(number: Mapping[str, float | None] | None, metric: str = "") -> str:
    """Writes a value with its interval.

    Example:
        >>> interval({"value": 0.883, "low": 0.8653, "high": 0.8974})
        '0.883 (0.865 to 0.897)'
        >>> interval({"value": None, "low": None, "high": None})
        ''
    """
    if number is None or number["value"] is None:
        return ""
    digits = 2 if metric.startswith(SHORT) else 3
    value, low, high = (f"{number[part]:.{digits}f}" for part in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


@dataclass(frozen=True)
class Sorted:
    """The metrics of an evaluation by kind: of all cases, by class (measure -> class -> metric), by site alike."""

    whole: list[str]
    by_class: dict[str, dict[str, str]]
    by_site: dict[str, dict[str, str]]


def sort_metrics(metrics: Iterable[str], classes: Sequence[str]) -> Sorted:
    """Sorts metrics by what their names end with: a class, a site, or neither.

    Args:
        metrics: names of metrics.
        classes: names of the classes.

    Example:
        >>> found = sort_metrics(["auc_macro", "auc_a", "auc_b", "auc_macro_paris"], ["a", "b"])
        >>> found.whole, found.by_class, found.by_site
        (['auc_macro'], {'auc': {'a': 'auc_a', 'b': 'auc_b'}}, {'auc_macro': {'paris': 'auc_macro_paris'}})
    """
    found = Sorted([], {}, {})
    for name in metrics:
        ending = next((c for c in classes if name.endswith(f"_{c}")), None)
        if name in TITLES or name.endswith("_mean"):
            found.whole.append(name)
        elif ending is not None:
            found.by_class.setdefault(name.removesuffix(f"_{ending}"), {})[ending] = name
        else:
            of = max((whole for whole in found.whole if name.startswith(f"{whole}_")), key=len, default=None)
            if of is None:
                found.whole.append(name)
            else:
                found.by_site.setdefault(of, {})[name.removeprefix(f"{of}_")] = name
    return found


def millions(parameters: int | None) -> str:
    """Writes a number of parameters.

    Example:
        >>> millions(2549161)
        '2.55 M'
    """
    return "" if parameters is None else f"{parameters / 1e6:.2f} M"


def seconds(time: float | None) -> str:
    """Writes a short time.

    Example:
        >>> seconds(0.0268), seconds(0.3245), seconds(2.5)
        ('27 ms', '0.32 s', '2.5 s')
    """
    if time is None:
        return ""
    return f"{time * 1000:.0f} ms" if time < 0.1 else f"{time:.2f} s" if time < 1 else f"{time:.1f} s"


def times(shape: Iterable[int]) -> str:
    """Writes a size.

    Example:
        >>> times([32, 40, 32])
        '32 x 40 x 32'
    """
    return " x ".join(str(size) for size in shape)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Writes a Markdown table.

    Example:
        >>> print(markdown(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [list(header), *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])


def between_marks(text: str, name: str, command: str, new: str) -> str | None:
    """Returns a text with what stands between two marks replaced, or None when it lacks them.

    Args:
        text: text with the lines ``<!-- name: command -->`` and ``<!-- end of name -->``.
        name: name of the part.
        command: command that writes the part.
        new: what shall stand there.

    Example:
        >>> between_marks("a <!-- x: cmd --> old <!-- end of x --> b", "x", "cmd", "new")
        'a <!-- x: cmd -->\\nnew\\n<!-- end of x --> b'
    """
    begin, end = f"<!-- {name}: {command} -->", f"<!-- end of {name} -->"
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    return f"{before}{begin}\n{new}\n{end}{after}" if first and last else None
