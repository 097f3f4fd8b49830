"""What the fuzzer tries: configs, environments, archives, checkpoints and metrics files, as Hypothesis strategies."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml
from fuzz_children import Entry, Trial
from hypothesis import strategies as st
from PIL import Image

ROOT = Path(__file__).parents[2]
ADAM = {"name": "adam", "lr": 1e-3, "betas": [0.0, 0.9]}
RING: dict[str, Any] = {
    "run": {"name": "r", "steps": 2, "folder": "runs", "device": "cpu", "threads": 1},
    "data": {"name": "gaussian_ring", "batch_size": 8, "samples": 64},
    "game": {
        "name": "gan",
        "loss": "non_saturating",
        "penalties": [{"name": "r1", "weight": 0.1, "every": 2}],
        "generator": {"model": {"name": "mlp", "width": 4, "latent_dim": 2}, "optimizer": ADAM},
        "discriminator": {"model": {"name": "mlp", "width": 4}, "optimizer": ADAM, "sharpness": {"name": "sampa"}},
    },
    "outer": {"name": "lookahead", "inner_steps": 2, "base": {"name": "rapp", "inner_steps": 2}},
    "ema": {"decay": 0.9},
    "samples": None,
    "checkpoint": {"every": 1, "keep": 2},
    "log": {"every": 1},
}
DIGITS: dict[str, Any] = RING | {
    "data": {"name": "digits", "batch_size": 8},
    "game": {
        "name": "gan",
        "loss": "hinge",
        "generator": {"model": {"name": "conv", "width": 2, "latent_dim": 2}, "optimizer": ADAM},
        "discriminator": {
            "model": {"name": "conv", "width": 2},
            "optimizer": ADAM,
            "scheduler": {"name": "steplr", "step_size": 2},
            "constraint": {"name": "box", "low": -1, "high": 1},
        },
    },
    "outer": {"name": "gda", "order": "alternating"},
    "samples": {"every": 1, "count": 4},
    "evaluate": {
        "every": 1, "metrics": ["fid"], "samples": 128, "features": "checkpoints/digits-classifier", "subset_size": 32
    },
}  # fmt: skip
CLASSIFIER: dict[str, Any] = {
    "run": {"name": "r", "steps": 2, "folder": "runs", "device": "cpu", "threads": 1},
    "data": {"name": "digits", "batch_size": 8, "split": "train", "validation": 0.2},
    "game": {
        "name": "classification",
        "label_smoothing": 0.1,
        "standardise": True,
        "augmentations": [{"name": "crop", "padding": 1}],
        "classifier": {
            "model": {"name": "conv", "width": 2},
            "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
            "scheduler": {"name": "cosineannealinglr", "T_max": 4},
            "sharpness": {"name": "sam", "rho": 0.05},
        },
    },
    "evaluate": {"every": 2, "data": {"split": "validation"}},
    "checkpoint": {"every": 1, "keep": 2},
}
RUNS = {"digits": DIGITS, "ring": RING, "classifier": CLASSIFIER}
IMAGES = {**DIGITS, "data": {"name": "image_folder", "path": "images", "size": 8, "batch_size": 2, "workers": 0}}
del IMAGES["evaluate"]
SOLVE = {
    "name": "s",
    "game": {"name": "forsaken", "start": [1.0, -0.8]},
    "outer": {"name": "rapp", "inner_steps": 3, "relaxation": 0.5},
    "optimizer": {"name": "sgd", "lr": 0.5},
    "constraint": {"name": "box", "low": -1.5, "high": 1.5},
    "steps": 3,
    "folder": "runs",
}
MAP = {
    "name": "m",
    "outers": [{"name": "rapp", "inner_steps": 3}, {"name": "lookahead", "inner_steps": 2}],
    "x": {"key": "rho", "low": -0.7, "high": 0.1, "count": 2},
    "y": {"key": "relaxation", "low": 0.02, "high": 1.0, "count": 2},
    "gamma": 0.8,
    "steps": 2,
    "folder": "runs",
}
BASES = {"train": (RING, DIGITS, CLASSIFIER), "solve": (SOLVE,), "map": (MAP,)}
TINY = ("run.steps=2", "run.gradients=null", "run.kimg=null", "run.device=cpu")
# A large value of these is no mistake: it asks for much work.
WORK = {
    *("inner_steps", "critic_steps", "steps", "gradients", "kimg", "count", "workers", "batches", "eigenvalues"),
    *("width", "depth", "samples", "subset_size", "batch_size", "size", "channels", "latent_dim", "modes", "classes"),
    *("repeats", "iterations", "max_iter", "max_eval", "ns_steps", "history_size", "dimension", "accumulation"),
}
ABSURD = (1e20, -1e20, 1e308, 10**30, 2**63, -(2**63), float("inf"), float("-inf"), float("nan"))
SMALL = (0, 1, 2, 3, -1, 0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 1e-300, 1e-8)
WORDS = (
    *("", " ", "null", "~", "yes", "no", "1e3", "0x10", "1_000", "1:30", "2024-01-01", ".inf", "NaN", "gan", "gda"),
    *("rapp", "adam", "os:system", "nowhere:X", "math:pi", "torch.nn:Linear", "gantrain.outer:GDA", "..", "/", "a/b"),
    *("~", "$HOME", "${HOME}/x", "a\nb", "a\tb", "\x1b[31m", "é", "\u202e", "🦊", "a" * 300, "a\x00b", ".statistics"),
    *("config.yaml", "/dev/null", "/dev/zero", "/proc/self/mem", "fifo", "con", "-", "--help", "{}", "[]", "'", '"'),
)

text = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
small = st.one_of(st.sampled_from(SMALL), st.booleans(), st.none(), text)
scalar = st.one_of(small, st.sampled_from(ABSURD), st.integers(-3, 70), st.floats(-2, 2))
tree = st.recursive(
    scalar,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(text, st.integers(-2, 2)), inner, max_size=3)
    ),
    max_leaves=6,
)
SNIPPETS = (
    *(
        "!!binary aGVsbG8=",
        "!!python/object/apply:os.system ['true']",
        "!!set {a, b}",
        "!!timestamp 2024-01-01",
        "!x y",
    ),
    *("!!omap [a: 1]", "!!int abc", "!!float x", "!!bool 3", "!!null x", "&a [*a]", "*nowhere", "&a {b: *a}", "? [a]"),
    *("? {a: 1}\n: 2", "<<: {a: 1}", "{<<: [1]}", "{<<: *x}", "|\n  a", ">-\n  a", "%YAML 9.9", "---\na: 1\n---\nb: 2"),
    *(
        "- a\nb: c",
        "\t",
        "a: b: c",
        "'",
        '"',
        '"\\x"',
        '"\\ud800"',
        "@a",
        "`a",
        "[",
        "]",
        "{",
        "}",
        "# x",
        "\x07",
        "\ufeff",
    ),
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in items for found in _paths(inner, (*path, key)))]


def _changed(value: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> None:
    for key in path[:-1]:
        value = value[key]
    change(value, path[-1])


def _put(new: Any, holder: Any, key: Any) -> None:
    holder[key] = new


def _add(new_key: Any, new: Any, holder: Any, _: Any) -> None:
    if isinstance(holder, dict):
        holder[new_key] = new
    else:
        holder.append(new)


def _rename(new: Any, holder: Any, key: Any) -> None:
    if isinstance(holder, dict) and isinstance(new, str | int | float | bool | None):
        holder[new] = holder.pop(key)


def _drop(holder: Any, key: Any) -> None:
    del holder[key]


def _wrap(holder: Any, key: Any) -> None:
    holder[key] = [holder[key]]


@st.composite
def mutated(draw: Any, base: Mapping[str, Any]) -> dict[str, Any]:
    """A config with one to three of its keys changed."""
    config = copy.deepcopy(dict(base))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(config)[1:] or [("x",)]))
        values = st.one_of(small, st.lists(small, max_size=2)) if WORK & set(path) else tree
        move = draw(st.sampled_from(("put", "put", "put", "add", "rename", "drop", "wrap", "copy")))
        if move == "put":
            _changed(config, path, partial(_put, draw(values)))
        elif move == "add":
            key = draw(st.one_of(text, st.sampled_from([str(p[-1]) for p in _paths(config)[1:]])))
            _changed(config, path, partial(_add, key, draw(values)))
        elif move == "rename":
            _changed(config, path, partial(_rename, draw(text)))
        elif move == "copy":
            other = draw(st.sampled_from(_paths(config)[1:]))
            source: Any = config
            for key in other:
                source = source[key]
            if not WORK & set(path):
                _changed(config, path, partial(_put, copy.deepcopy(source)))
        else:
            _changed(config, path, _drop if move == "drop" else _wrap)
    return config


def _dump(value: Any) -> str:
    try:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    except yaml.YAMLError:
        return json.dumps(value, default=str)


def dump(config: Mapping[str, Any]) -> bytes:
    """A config as a file."""
    return _dump(config).encode()


def _bomb(kind: str, depth: int, key: str) -> str:
    """A value below ``key`` that is small as text and large, or deep, as a tree."""
    first, step = {
        "lists": ("[x, x]", "[*a{0}, *a{0}]"),
        "mappings": ("{{x: 1}}", "{{l: *a{0}, r: *a{0}}}"),
        "merges": ("{{x: 1}}", "{{<<: [*a{0}, *a{0}], l: *a{0}, r: *a{0}}}"),
    }.get(kind, ("", ""))
    if not first:
        return f"{key}: {'[' * depth * 40}{']' * depth * 40}"
    layers = [f"&a0 {first.format()}", *(f"&a{i} {step.format(i - 1)}" for i in range(1, depth))]
    lines = [f"  a{i}: {layer}" for i, layer in enumerate(layers)]
    return "\n".join([f"{key}:", *lines, f"  last: *a{depth - 1}"])


@st.composite
def yaml_text(draw: Any, base: Mapping[str, Any]) -> bytes:
    """A config's file: changed in its tree or in its letters, or made of nothing."""
    how = draw(st.sampled_from(("tree",) * 6 + ("letters", "snippet", "snippet", "bomb", "grammar", "bytes")))
    if how == "tree":
        return _dump(draw(mutated(base))).encode("utf-8", "surrogatepass")
    if how == "grammar":
        return _dump(draw(tree)).encode("utf-8", "surrogatepass")
    if how == "bytes":
        return draw(st.binary(max_size=40))
    if how == "bomb":
        kind = draw(st.sampled_from(("lists", "mappings", "merges", "nested")))
        key = draw(st.sampled_from(("x", *base)))
        rest = {name: value for name, value in base.items() if name != key}
        return f"{_bomb(kind, draw(st.integers(2, 30)), key)}\n{_dump(rest)}".encode()
    lines = _dump(base).splitlines()
    at = draw(st.integers(0, len(lines) - 1))
    if how == "snippet":
        key, colon, _ = lines[at].partition(":")
        snippet = draw(st.sampled_from(SNIPPETS))
        lines[at] = f"{key}{colon} {snippet}" if draw(st.booleans()) else snippet
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    letters = list("\n".join(lines))
    for _ in range(draw(st.integers(1, 4))):
        letters[draw(st.integers(0, len(letters) - 1))] = draw(
            st.sampled_from(list("{}[]:,&*!|>'\"%@`#?- \t\n\x00\x85é"))
        )
    return "".join(letters).encode()


@st.composite
def override(draw: Any, base: Mapping[str, Any]) -> str:
    """An argument ``KEY=VALUE``, or what might be meant as one."""
    path = draw(st.sampled_from(_paths(base)[1:]))
    key = ".".join(map(str, path))
    key = draw(
        st.sampled_from((key,) * 6 + (f"{key}.0", f"{key}.x", key + ".", "." * 2000, f"{key}x", "", "run..name"))
    )
    value = draw(small if WORK & set(path) else st.one_of(tree, st.sampled_from(SNIPPETS)))
    shown = value if isinstance(value, str) else json.dumps(value)
    return f"{key}{draw(st.sampled_from(('=',) * 9 + ('', '==', ' = ')))}{shown}".replace("\0", "")


@st.composite
def configs(draw: Any) -> Trial:
    command = draw(st.sampled_from(("train",) * 8 + ("solve", "map", "doctor")))
    like = "train" if command == "doctor" else command
    base = draw(st.sampled_from(BASES[like]))
    entries, templates = [], {}
    name = "c.yaml"
    if draw(st.integers(0, 9)) == 7:
        shipped = [path for path in _shipped() if (path.parts[1] if len(path.parts) > 2 else "") not in ("language",)]
        of = {"solve": "toy", "map": "theory"}.get(like)
        name = str(
            draw(
                st.sampled_from(
                    [
                        p
                        for p in shipped
                        if (of or p.parts[1]) == p.parts[1] and (of or p.parts[1] not in ("toy", "theory"))
                    ]
                )
            )
        )
        base = yaml.safe_load((ROOT / name).read_text())
    elif draw(st.integers(0, 29)) == 17:
        kind, content = draw(
            st.sampled_from((("fifo", None), ("folder", None), ("link", "c.yaml"), ("link", "/dev/zero")))
        )
        entries.append(Entry(name, content, kind))
    else:
        changes = draw(st.integers(0, 4)) != 2
        entries.append(Entry(name, draw(yaml_text(base)) if changes else _dump(base).encode()))
        if draw(st.integers(0, 19)) == 13:
            entries.append(Entry("b.yaml", b"base: c.yaml\n" + draw(yaml_text(base))))
            name = "b.yaml"
    overrides = [item for item in draw(st.lists(override(base), max_size=2)) if not item.startswith("-")]
    tiny = {"train": TINY, "solve": ("steps=2",), "map": ("steps=2", "x.count=2", "y.count=2")}[like]
    if command == "doctor":
        tiny = (*tiny, "run.compile=false")
    return Trial("configs", [command, name, *overrides, *tiny], entries, templates)


@cache
def _shipped() -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml"))


NUMBERS = (
    "",
    "0",
    "1",
    "2",
    "-1",
    "abc",
    "1.5",
    "1e3",
    "99999999999999999999",
    " 1 ",
    "٣",
    "None",
    "true",
    "0x1",
    "\n",
)
VARIABLES = {
    **dict.fromkeys(("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT", "NODE_RANK"), NUMBERS),
    **dict.fromkeys(("OMP_NUM_THREADS", "COLUMNS", "LINES", "PYTHONHASHSEED", "SLURM_NTASKS", "SLURM_PROCID"), NUMBERS),
    "MASTER_ADDR": ("", "localhost", "nowhere.invalid", "127.0.0.1", "::1", "a b", "-"),
    "GLOO_SOCKET_IFNAME": ("", "lo", "none0"),
    "CUDA_VISIBLE_DEVICES": ("", "-1", "0", "9", "abc", "0,0"),
    **dict.fromkeys(
        (
            *("ACCELERATE_USE_CPU", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM"),
            *(
                "ACCELERATE_MIXED_PRECISION",
                "ACCELERATE_DYNAMO_BACKEND",
                "ACCELERATE_TORCH_DEVICE",
                "ACCELERATE_DEBUG_MODE",
            ),
            *("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "ACCELERATE_USE_PARALLELISM_CONFIG", "ACCELERATE_CPU_AFFINITY"),
        ),
        ("", "true", "false", "1", "0", "abc", "fp16", "bf16", "cuda", "2"),
    ),
    **dict.fromkeys(
        ("HOME", "TMPDIR", "TORCH_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"),
        ("", "/", "/nowhere", "/dev/null", "/proc", "relative", "a\nb", "~", "/tmp/" + "a" * 300),
    ),
    **dict.fromkeys(("LANG", "LC_ALL", "TERM", "NO_COLOR", "TZ", "CXX", "USER"), ("", "C", "xx_YY", "dumb", "1", "\n")),
    "PATH": ("", "/nowhere"),
}
LAUNCHED = {"WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"}
STRAY = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@st.composite
def environments(draw: Any, runs: Mapping[str, Path]) -> Trial:
    names = draw(st.lists(st.sampled_from(sorted(VARIABLES) + list(STRAY) * 3), min_size=1, max_size=4, unique=True))
    chosen = {name: draw(st.sampled_from(VARIABLES[name])) for name in names}
    # A whole set of variables for several processes is no mistake: the run waits for the others.
    if chosen.keys() >= LAUNCHED and chosen["WORLD_SIZE"].strip() not in ("", "0", "1", "-1", "abc"):
        chosen["MASTER_PORT"] = "abc"
    command = draw(st.sampled_from(("train",) * 5 + ("eval", "sample", "solve", "compare", "doctor", "schema")))
    arguments = {
        "train": ["train", "c.yaml"],
        "doctor": ["doctor", "c.yaml"],
        "solve": ["solve", "s.yaml"],
        "sample": ["sample", "runs/r", "--number", "4"],
        "eval": [
            "eval",
            "runs/r",
            "--metrics",
            "isc",
            "--samples",
            "64",
            "--features",
            "checkpoints/digits-classifier",
        ],
        "compare": ["compare", "runs/r"],
        "schema": ["schema"],
    }[command]
    entries = [
        Entry("c.yaml", _dump({**RING, "run": {**RING["run"], "name": "new"}}).encode()),
        Entry("s.yaml", _dump(SOLVE).encode()),
    ]
    return Trial("environments", arguments, entries, {"runs/r": runs["digits"]}, chosen)


@cache
def _picture(form: str, mode: str, size: int) -> bytes:
    stream = io.BytesIO()
    picture = Image.frombytes("RGB", (size, size), random.Random(size).randbytes(3 * size * size)).convert(mode)
    picture.save(stream, form)
    return stream.getvalue()


PICTURES = (
    *(("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("PNG", "1"), ("PNG", "I;16"), ("JPEG", "RGB")),
    *(("JPEG", "L"), ("PPM", "RGB"), ("PPM", "L"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "RGB"), ("WEBP", "RGB")),
)
NAMES = (
    *(
        "a.png",
        "b.jpg",
        "c.JPEG",
        "d.ppm",
        "e.txt",
        "f",
        ".hidden.png",
        "._a.png",
        "Thumbs.db",
        ".DS_Store",
        "g.png.png",
    ),
    *(
        "h.gif",
        "i.tiff",
        "j.webp",
        "é.png",
        "🦊.png",
        "a b.png",
        "a\nb.png",
        "\x1b[31m.png",
        "a\\b.png",
        "k.pgm",
        "l.bmp",
    ),
    *("C:\\x.png", "-.png", "a" * 200 + ".png", "\udcff.png", "m.npy"),
)
FOLDERS = (
    *(
        "",
        "",
        "",
        "cat/",
        "dog/",
        "train/",
        "train/cat/",
        "train/dog/",
        "val/",
        "val/cat/",
        "test/",
        "__MACOSX/",
        ".git/",
    ),
    *("@eaDir/", "$RECYCLE.BIN/", "../", "/", "a/b/c/d/", "train\\cat\\", "validation/dog/", "é/"),
)
HUGE = b"P6 60000 60000 255\n" + b"\0" * 64


@st.composite
def picture(draw: Any) -> bytes:
    """The bytes of a picture, perhaps damaged, or of something else."""
    how = draw(st.integers(1, 12))
    if how == 9:
        return draw(
            st.sampled_from(
                (b"", b"\0" * 10, HUGE, b"<svg/>", gzip.compress(b"\0" * 10**6), b"P5 3 3 65535\n" + b"ab" * 9)
            )
        )
    form, mode = draw(st.sampled_from(PICTURES))
    try:
        content = bytearray(_picture(form, mode, draw(st.sampled_from((8, 8, 8, 8, 1, 12)))))
    except (OSError, ValueError):
        content = bytearray(_picture("PNG", "RGB", 8))
    if how == 7:
        for _ in range(draw(st.integers(1, 8))):
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    if how == 5:
        del content[draw(st.integers(0, len(content) - 1)) :]
    return bytes(content)


def _packed(form: str, members: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    if form == "zip":
        with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            warnings.simplefilter("ignore")  # names that occur twice
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name.encode("utf-8", "replace").decode()), content)
    else:
        with tarfile.open(fileobj=stream, mode=form) as archive:
            for number, (name, content) in enumerate(members):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                if number % 7 == 6:
                    member.type, member.linkname, member.size = (tarfile.SYMTYPE, members[0][0], 0)
                if number % 11 == 10:
                    member.type, member.size = tarfile.FIFOTYPE, 0
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@st.composite
def archives(draw: Any) -> Trial:
    folders = draw(st.sampled_from((FOLDERS, ("",), ("cat/", "dog/"), ("train/cat/", "train/dog/", "val/cat/"))))
    names = draw(st.sampled_from((NAMES, NAMES[:4])))
    members = [
        (draw(st.sampled_from(folders)) + draw(st.sampled_from(names)), draw(picture()))
        for _ in range(draw(st.integers(0, 6)))
    ]
    if draw(st.booleans()):  # some good ones, so that the run may begin
        members += [(f"{folders[0]}x{number}.png", _picture("PNG", "RGB", 8)) for number in range(4)]
    entries = [Entry("c.yaml", _dump(IMAGES).encode())]
    if draw(st.booleans()):
        path, part = "images", "image_folder"
        entries += [Entry(f"images/{name.lstrip('/')}", content) for name, content in members]
        specials = (
            Entry("images/pipe.png", None, "fifo"),
            Entry("images/loop", "..", "link"),
            Entry("images/gone.png", "nowhere", "link"),
            Entry("images/zero.png", "/dev/zero", "link"),
            Entry("images/self.png", "self.png", "link"),
            Entry("images/y.png", "images/x1.png", "hard link"),
            Entry("images/empty", None, "folder"),
        )
        entries += draw(st.lists(st.sampled_from(specials), max_size=2, unique=True))
    else:
        part, form = "image_archive", draw(st.sampled_from(("zip", "zip", "w", "w:gz", "w:bz2", "w:xz")))
        suffix = draw(
            st.sampled_from(
                ({"zip": ".zip", "w": ".tar"}.get(form, f".tar.{form[2:]}"),) * 4
                + ("", ".zip", ".tar", ".tar.zst", ".tgz", ".gz", ".7z")
            )
        )
        content = bytearray(_packed(form, members))
        how = draw(st.integers(0, 9))
        if how == 3 and content:
            for _ in range(draw(st.integers(1, 8))):
                content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        if how == 5 and content:
            del content[draw(st.integers(0, len(content) - 1)) :]
        if how == 7:
            content = bytearray(draw(st.binary(max_size=64)))
        path = f"images{suffix}"
        kind = draw(st.sampled_from(("file",) * 8 + ("fifo", "folder") + ("file",) * 8))
        entries.append(Entry(path, bytes(content) if kind == "file" else None, kind))
    more = draw(st.lists(st.sampled_from((
        "data.size=null", "data.channels=1", "data.on_error=skip", "data.split=validation", "data.validation=0.5",
        "data.storage=disk", "data.split=test", "data.label_noise=0.5", "data.batch_size=1", "data.split=train",
    )), max_size=2, unique=True))  # fmt: skip
    if draw(st.integers(0, 4)) == 3:
        arguments = ["eval", "--images", path, "--metrics", "isc", "--features", "checkpoints/digits-classifier"]
    else:
        arguments = ["train", "c.yaml", f"data.name={part}", f"data.path={path}", *more]
    return Trial("archives", arguments, entries)


def _signed(checkpoint: Path) -> None:
    """Write the manifest that fits the files."""
    files = sorted(path for path in checkpoint.iterdir() if path.name != "manifest.json" and path.is_file())
    manifest = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def _newest(folder: Path) -> Path:
    return max((folder / "runs/r").glob("step_*"), key=lambda path: path.name)


def _flip(number: int, position: float, bit: int, sign: bool, folder: Path) -> None:
    files = sorted(path for path in (folder / "runs/r").rglob("*") if path.is_file())
    file = files[number % len(files)]
    content = bytearray(file.read_bytes())
    if content:
        content[int(position * (len(content) - 1))] ^= 1 << bit
        file.write_bytes(content)
    if sign:
        _signed(_newest(folder))


def _cut(number: int, share: float, sign: bool, folder: Path) -> None:
    files = sorted(path for path in (folder / "runs/r").rglob("*") if path.is_file())
    file = files[number % len(files)]
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    if sign:
        _signed(_newest(folder))


def _remove(number: int, sign: bool, folder: Path) -> None:
    files = sorted((folder / "runs/r").rglob("*"))
    file = files[number % len(files)]
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    if sign:
        _signed(_newest(folder))


def _swap(first: int, second: int, sign: bool, folder: Path) -> None:
    files = sorted(path for path in (folder / "runs/r").rglob("*") if path.is_file())
    one, other = files[first % len(files)], files[second % len(files)]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    if sign:
        _signed(_newest(folder))


def _foreign(name: str, content: bytes, inside: bool, folder: Path) -> None:
    ((_newest(folder) if inside else folder / "runs/r") / name).write_bytes(content)


def _special(name: str, kind: str, folder: Path) -> None:
    path = folder / "runs/r" / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    os.mkfifo(path) if kind == "fifo" else os.symlink(path.name if kind == "loop" else "/dev/zero", path)


def _edit(number: int, new: Any, move: str, folder: Path) -> None:
    """Change a value in the state of the newest checkpoint, whose manifest fits afterwards."""
    file = _newest(folder) / "state.json"
    state = json.loads(file.read_text())
    paths = _paths(state)[1:]
    path = paths[number % len(paths)]
    _changed(state, path, _drop if move == "drop" else _wrap if move == "wrap" else partial(_put, new))
    file.write_text(json.dumps(state))
    _signed(file.parent)


def _recast(number: int, form: str, folder: Path) -> None:
    """Change a tensor in its file, whose manifest fits afterwards."""
    import safetensors.torch
    import torch

    files = sorted(_newest(folder).glob("*.safetensors"))
    file = files[number % len(files)]
    tensors = safetensors.torch.load_file(file)
    name = sorted(tensors)[number % len(tensors)]
    tensor = tensors[name]
    tensors[name] = {
        "half": lambda: tensor.half(),
        "long": lambda: tensor.long(),
        "bool": lambda: tensor.bool(),
        "flat": lambda: tensor.flatten().clone(),
        "more": lambda: torch.cat([tensor.flatten(), tensor.flatten()]),
        "none": lambda: tensor.flatten()[:0].clone(),
        "nan": lambda: tensor * float("nan") if tensor.is_floating_point() else tensor,
        "complex": lambda: tensor.float() + 0,
    }[form]()
    if form == "complex":
        tensors[name + "x"] = tensors.pop(name)
    safetensors.torch.save_file(tensors, file)
    _signed(file.parent)


def _config(content: bytes, folder: Path) -> None:
    mark = b"# A run of gantrain: its resolved config.\n"
    (folder / "runs/r/config.yaml").write_bytes(mark + content)


FOREIGN = (
    *(".DS_Store", "Thumbs.db", "._x", "desktop.ini", "notes.txt", "generator.safetensors", "x.safetensors", "a.tmp"),
    *("step_9.tmp", "step_x", "step_1.old.tmp", "config.yaml.1234abcd.tmp", "manifest.json", "\udcff"),
)
SPECIAL = ("config.yaml", "metrics.jsonl", "step_2", "step_2/state.json", "step_2/manifest.json", "best", "samples")


@st.composite
def damages(draw: Any) -> partial[None]:
    number, sign = draw(st.integers(0, 400)), draw(st.booleans())
    how = draw(
        st.sampled_from(
            (
                "flip",
                "flip",
                "cut",
                "remove",
                "swap",
                "foreign",
                "special",
                "edit",
                "edit",
                "edit",
                "recast",
                "recast",
                "config",
            )
        )
    )
    if how == "flip":
        return partial(_flip, number, draw(st.floats(0, 1)), draw(st.integers(0, 7)), sign)
    if how == "cut":
        return partial(_cut, number, draw(st.sampled_from((0.0, 0.5, 0.99))), sign)
    if how == "remove":
        return partial(_remove, number, sign)
    if how == "swap":
        return partial(_swap, number, draw(st.integers(0, 400)), sign)
    if how == "foreign":
        return partial(_foreign, draw(st.sampled_from(FOREIGN)), draw(st.binary(max_size=20)), sign)
    if how == "special":
        return partial(_special, draw(st.sampled_from(SPECIAL)), draw(st.sampled_from(("fifo", "loop", "zero"))))
    if how == "recast":
        forms = ("half", "long", "bool", "flat", "more", "none", "nan", "complex")
        return partial(_recast, number, draw(st.sampled_from(forms)))
    if how == "config":
        return partial(_config, draw(yaml_text(DIGITS)))
    return partial(_edit, number, draw(tree), draw(st.sampled_from(("put", "put", "drop", "wrap"))))


USES = (
    ["sample", "runs/r", "--number", "4"],
    ["sample", "runs/r/best", "--number", "2", "--images"],
    ["eval", "runs/r", "--metrics", "isc", "--samples", "64", "--features", "checkpoints/digits-classifier"],
    ["eval", "runs/r", "--metrics", "fid", "--samples", "128"],
    ["diagnose", "runs/r", "--batches", "1", "--eigenvalues", "1"],
    ["train", "c.yaml", "--resume", "run.steps=3"],
    ["train", "c.yaml", "--resume", "run.steps=3", "evaluate=null"],
    ["train", "c.yaml", "--overwrite"],
    ["train", "c.yaml"],
    ["doctor", "c.yaml"],
    ["compare", "runs/r"],
    ["eval", "runs/r", "--features", "runs/r", "--metrics", "isc", "--samples", "64"],
)


@st.composite
def checkpoints(draw: Any, runs: Mapping[str, Path]) -> Trial:
    which = draw(st.sampled_from(("digits", "digits", "ring", "classifier")))
    # Files that block whoever opens them come last, so that no other change does.
    damage = sorted(draw(st.lists(damages(), min_size=1, max_size=2)), key=lambda change: change.func is _special)
    arguments = list(draw(st.sampled_from(USES)))
    return Trial("checkpoints", arguments, [Entry("c.yaml", dump(RUNS[which]))], {"runs/r": runs[which]}, damage=damage)


columns = st.sampled_from(("step", "time", "kimg", "loss/generator", "gradients/generator"))
row = st.one_of(st.dictionaries(st.one_of(columns, text), tree, max_size=5), tree)


@st.composite
def metrics(draw: Any, runs: Mapping[str, Path]) -> Trial:
    lines = (runs["digits"] / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines)))
        how = draw(st.integers(0, 5))
        if how == 0:
            lines.insert(at, draw(st.binary(max_size=20)) + b"\n")
        elif how == 1 and lines:
            lines.pop(at % len(lines))
        elif how == 2:
            lines.insert(
                at,
                draw(
                    st.sampled_from(
                        (b"", b"\n", b"[" * 100_000 + b"\n", b'{"step": NaN}\n', b"\xef\xbb\xbf{}\n", b"{}")
                    )
                ),
            )
        elif how == 3:
            lines.insert(at, json.dumps(draw(row), default=str).encode("utf-8", "surrogatepass") + b"\n")
        elif lines:
            good = (
                json.loads(lines[at % len(lines)]) if lines[at % len(lines)].startswith(b'{"step": ') else {"step": 1}
            )
            if isinstance(good, dict):
                key = draw(st.sampled_from(sorted(good)))
                lines[at % len(lines)] = (
                    json.dumps(good | {key: draw(tree)}, default=str).encode("utf-8", "surrogatepass") + b"\n"
                )
    arguments = draw(
        st.sampled_from(
            (
                ["compare", "runs/r"],
                ["compare", "runs", "--output", "out"],
                ["compare", "runs/r", "--at", "kimg", "--metrics", "loss/generator"],
                ["compare", "runs/r", "--at", "step", "--metrics", "fid"],
                ["train", "c.yaml", "--resume", "run.steps=3", "evaluate=null"],
            )
        )
    )
    entries = [Entry("c.yaml", _dump(DIGITS).encode()), Entry("runs/r/metrics.jsonl", b"".join(lines))]
    return Trial("metrics", list(arguments), entries, {"runs/r": runs["digits"]})


def kinds(runs: Mapping[str, Path]) -> dict[str, st.SearchStrategy[Trial]]:
    """The strategies by the names of the kinds.

    Args:
        runs: the folders of whole runs of the configs above: "digits", "ring" and "classifier".
    """
    return {
        "configs": configs(),
        "environments": environments(runs),
        "archives": archives(),
        "checkpoints": checkpoints(runs),
        "metrics": metrics(runs),
    }
