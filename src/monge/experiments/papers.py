"""The experiments by name. To add one: its table as data in a file of its paper, one line here."""

from __future__ import annotations

from monge.errors import UnknownNameError, nearest
from monge.experiments import i2vae, mmssl, sclrec, sinkhorncf
from monge.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "sinkhorncf/loss-replacement": sinkhorncf.LOSS_REPLACEMENT,
    "sinkhorncf/comparison": sinkhorncf.COMPARISON,
    "sinkhorncf/sensitivity": sinkhorncf.SENSITIVITY,
    "sinkhorncf/ablation": sinkhorncf.ABLATION,
    "mmssl/table2": mmssl.TABLE_2,
    "mmssl/table3": mmssl.TABLE_3,
    "mmssl/table4": mmssl.TABLE_4,
    "mmssl/table5": mmssl.TABLE_5,
    "mmssl/scale": mmssl.SCALE,
    "sclrec/table2": sclrec.TABLE2,
    "sclrec/table3": sclrec.TABLE3,
    "sclrec/temperature": sclrec.TEMPERATURE,
    "sclrec/noise": sclrec.NOISE,
    "i2vae/table1": i2vae.CLOTH_SPORT,
    "i2vae/table1-phone-elec": i2vae.PHONE_ELEC,
    "i2vae/table1-clean": i2vae.CLEAN,
    "i2vae/table2": i2vae.ABLATION,
    "i2vae/table2-clean": i2vae.CLEAN_ABLATION,
    "i2vae/table3": i2vae.DENSITY,
    "i2vae/table6": i2vae.OVERLAP,
}


def find_experiment(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in EXPERIMENTS:
        raise UnknownNameError(f"no experiment {name!r}{nearest(name, EXPERIMENTS)} (monge reproduce lists all)")
    return EXPERIMENTS[name]
