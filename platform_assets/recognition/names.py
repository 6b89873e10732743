"""What the assets of a family are called. The sensors name the champion by the same rule (sensors/learning.py)."""

import dagster as dg

from transforms.recognition import Family


def model_key(family: Family) -> dg.AssetKey:
    """The model that was trained, in MLflow under the alias challenger."""
    return dg.AssetKey(["recognition", family.name])


def champion_key(family: Family) -> dg.AssetKey:
    """The version that names images, MLflow's alias champion."""
    return dg.AssetKey(["recognition", family.name, "champion"])
