"""MLflow's server in one process, on loopback: `python -m stack.mlflow_server --store URI --artifacts DIR --port N`.

MLflow's own command starts a second process that serves. Killed, it would leave that one behind with the port, and the
supervisor would start it again in vain; and importing MLflow, nine seconds of processor time, would be paid twice. So
its app is served here, with the same environment by which that command tells its workers (`mlflow.server.constants`;
a release that renames them fails at the import below, and not quietly).

It runs at a low priority: registering a model can wait, and an image at the door cannot. Runs of job executors and
telemetry are off. Limit: it has no users, so that every account of this machine can reach its loopback port; it answers
loopback names only, by MLflow's own middleware.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

NICENESS = 10
OFF = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Names of loopback only: a page in a browser could reach it by a name of its own that points here.
    "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1:*,localhost:*",
}


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True, help="SQLAlchemy URI of the backend store; holds no secret.")
    parser.add_argument("--artifacts", type=Path, required=True, help="Folder of the artifacts.")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    serve(arguments.store, arguments.artifacts, arguments.port)


def serve(store: str, artifacts: Path, port: int) -> None:
    """Make the store's tables where there are none, and serve on 127.0.0.1:port; an older schema ends it with MLflow's
    sentence about `mlflow db upgrade`."""
    os.nice(NICENESS)
    # Before MLflow is imported: it reads some of these then.
    os.environ.update(OFF)
    import uvicorn
    from mlflow.server import constants

    root = "mlflow-artifacts:/"
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = root
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = artifacts.absolute().as_uri()
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, None, root)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=3)


if __name__ == "__main__":
    main()
