"""The log of a run in MLflow."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xpnet.files import open_file, write_atomically
from xpnet.libraries import import_library
from xpnet.training.history import EpochRecord
from xpnet.training.run_logger import RunLogger, scalars

__all__ = ["MLflowLogger"]

_FIRST = "loss/train"
_STATUS = {"interrupted": "KILLED", "running": "FAILED"}  # by how a run has stopped; else it is finished
_LONGEST = 500  # characters of a value, which every server takes
_BATCH = 100  # parameters in one request, at most
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": 1, "MLFLOW_HTTP_REQUEST_TIMEOUT": 10}  # by default it waits for minutes


class MLflowLogger(RunLogger):
    """Log a run in MLflow: curves, settings, pictures, device and versions, memory and samples per second.

    The log goes to the server or the store that ``MLFLOW_TRACKING_URI`` names; without it MLflow takes the file
    ``mlflow.db`` in the working folder, which ``mlflow ui`` shows. If the server cannot be reached, one warning says
    so, and training goes on without the log.

    Parameters
    ----------
    run_file : str or Path, optional
        File that keeps the identifier of MLflow's run. With it a run that is resumed from a checkpoint goes on in the
        same run, and does not log an epoch twice.
    settings : mapping of str to object, optional
        Settings of the run: the parameters in MLflow.
    tracking_uri : str, optional
        Server or store, in place of that of the environment.
    experiment : str
        Name of the experiment; it is made if there is none.
    run_name : str, optional
        By default MLflow invents one.

    Raises
    ------
    LibraryNotInstalledError
        mlflow is not installed: ``pip install 'xpnet[mlflow]'``.

    Examples
    --------
    ::

        log = xpnet.MLflowLogger("first.json", settings={"learning_rate": 0.01}, run_name="first")
        xpnet.Trainer(network, learning_rate=0.01, callbacks=[log]).fit(x, y, validation=(x_val, y_val))
    """

    def __init__(
        self,
        run_file: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        tracking_uri: str | None = None,
        experiment: str = "xpnet",
        run_name: str | None = None,
    ) -> None:
        super().__init__(settings)
        self._library = import_library("mlflow", "mlflow")
        self.run_file = None if run_file is None else Path(run_file)
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.run_name = run_name
        self.failures = (OSError, self._library.exceptions.MlflowException)
        self._client: Any = None
        self._run_id = ""
        self._logged = 0  # the last epoch that the log has

    def __getstate__(self) -> dict[str, Any]:  # no module and no connection can be pickled
        return {**vars(self), "_library": None, "_client": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _library=import_library("mlflow", "mlflow"))

    def begin(self, earlier: Sequence[EpochRecord], system: Mapping[str, str]) -> None:
        """See `RunLogger`."""
        logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # it reports each table that it makes
        with self._impatient():
            self._connect()
            found = self._find_run()
            if found and earlier:
                self._run_id = found
                self._client.update_run(found, status="RUNNING")
                points = self._client.get_metric_history(found, _FIRST)
                self._logged = max((point.step for point in points), default=0)
            else:
                if found:  # killed before its first checkpoint: it starts again
                    self._client.set_terminated(found, "KILLED")
                self._create(system)
        for record in earlier:
            self.write(record)

    def _connect(self) -> Any:
        self._client = self._library.MlflowClient(tracking_uri=self.tracking_uri)
        return self._client

    def _create(self, system: Mapping[str, str]) -> None:
        client, entities = self._client, self._library.entities
        known = client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else client.create_experiment(self.experiment)
        self._run_id = client.create_run(experiment, tags=dict(system), run_name=self.run_name).info.run_id
        self._logged = 0
        if self.run_file is not None:
            write_atomically(self.run_file, json.dumps({"run_id": self._run_id}).encode())
        params = [
            entities.Param(_key(name), str(value)[:_LONGEST])
            for name, value in self.settings.items()
            if value is not None
        ]
        for first in range(0, len(params), _BATCH):
            client.log_batch(self._run_id, params=params[first : first + _BATCH])

    def _find_run(self) -> str | None:
        """Return the identifier in the run file, if the store still has that run."""
        if self.run_file is None:
            return None
        with suppress(OSError, ValueError, TypeError, KeyError), open_file(self.run_file) as file:
            run_id = str(json.loads(file.read())["run_id"])
            with suppress(self._library.exceptions.MlflowException):
                self._client.get_run(run_id)
                return run_id
        return None

    def write(self, record: EpochRecord) -> None:
        """See `RunLogger`."""
        if record.epoch <= self._logged:
            return
        milliseconds = int(time.time() * 1000)
        metric = self._library.entities.Metric
        points = [metric(_key(name), value, milliseconds, record.epoch) for name, value in scalars(record).items()]
        with self._impatient():
            self._client.log_batch(self._run_id, metrics=points)
        self._logged = record.epoch

    def end(self, stopped: str) -> None:
        """See `RunLogger`."""
        with self._impatient():
            self._client.set_terminated(self._run_id, _STATUS.get(stopped, "FINISHED"))

    def picture(self, path: Path) -> None:
        """See `RunLogger`."""
        with self._impatient():
            # A copy of the log of a run has no client.
            client = self._connect() if self._client is None else self._client
            client.log_artifact(self._run_id, str(path), "pictures")

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        """Do not wait for minutes for a server that does not answer, unless the user wishes it."""
        variables = [getattr(self._library.environment_variables, name) for name in _PATIENCE]
        unset = [variable for variable in variables if not variable.is_set()]
        try:
            for variable in unset:
                variable.set(_PATIENCE[variable.name])
            yield
        finally:
            for variable in unset:
                variable.unset()


def _key(name: Any) -> str:
    """Return a name as MLflow takes it."""
    return re.sub(r"[^\w\-./ ]", "_", str(name))[:200]
