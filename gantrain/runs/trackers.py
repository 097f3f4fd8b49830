"""The trackers that a config chooses by name, made of those of Accelerate."""

from __future__ import annotations

import importlib
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from accelerate.tracking import MLflowTracker, WandBTracker

# What MLflow refuses in the name of a value.
_NOT_IN_MLFLOW = re.compile(r"[^\w\-. /]+")


class WandB(WandBTracker):
    """Weights & Biases: rows, the config, and pictures of samples. It needs the package wandb.

    Its files lie in the folder ``wandb`` in the run's folder.

    Args:
        project: the project that the run belongs to. Default gantrain.
        entity: the user or the team that owns the project; null (the default) is the user who is logged in.
        group: the group of runs in which the run is shown; null (the default) for none.
        tags: words by which runs are found. Default none.
        notes: a longer description of the run. Default null.
        mode: online, offline (the files are sent later, by ``wandb sync``) or disabled. null (the default) is what
            the variable WANDB_MODE says, and online without it.

    Attributes:
        run_id: the id of the run at Weights & Biases, by which a resumed run goes on with it.
    """

    def __init__(
        self,
        run_name: str,
        logging_dir: str,
        project: str = "gantrain",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
    ):
        # To Accelerate, the project is the name of the run.
        super().__init__(
            project, name=run_name, dir=logging_dir, entity=entity, group=group, tags=tags, notes=notes, mode=mode
        )
        self.run_id: str | None = None

    def start(self) -> None:
        self.run_id = self.run_id or uuid.uuid4().hex[:12]
        self.init_kwargs |= {"id": self.run_id, "resume": "allow"}
        super().start()


class MLflow(MLflowTracker):
    """MLflow: rows and the config. It needs the package mlflow.

    Where MLflow keeps its runs, its own variable MLFLOW_TRACKING_URI says. MLflow allows no brackets in names, so that
    ``accuracy[ema]`` is called ``accuracy.ema`` there.

    Args:
        experiment: the experiment that the run belongs to. Default gantrain.
        uri: where MLflow keeps its runs, such as http://host:5000 or sqlite:////home/me/mlflow.db. null (the default)
            is what MLFLOW_TRACKING_URI says.
        tags: values by name, by which runs are found. Default none.
        description: a longer description of the run. Default null.

    Attributes:
        run_id: the id of the run at MLflow, by which a resumed run goes on with it.
    """

    def __init__(
        self,
        run_name: str,
        experiment: str = "gantrain",
        uri: str | None = None,
        tags: Mapping[str, str] = {},  # noqa: B006 - never changed
        description: str | None = None,
    ):
        super().__init__(experiment, run_name=run_name, tags=dict(tags), description=description)
        self.uri = uri

    def start(self) -> None:
        if self.uri is not None:
            importlib.import_module("mlflow").set_tracking_uri(self.uri)
        super().start()
        self.run_id = self.active_run.info.run_id

    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        super().log({_NOT_IN_MLFLOW.sub(".", name).strip("."): v for name, v in values.items()}, step=step, **kwargs)
