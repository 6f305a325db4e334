"""What people read of a run: tables for the terminal (Rich) and one self-contained HTML page (Plotly, extra `report`).

Everything here reads plain data: the files of a run directory, or dictionaries of the same form. No model is loaded.
"""

from monge.reporting.report import write_report
from monge.reporting.run_files import RunFiles, read_run_files
from monge.reporting.tables import (
    description_table,
    experiment_table,
    experiments_table,
    metrics_table,
    models_table,
    options_table,
    recommendations_table,
    run_summary,
    trials_table,
)

__all__ = [
    "RunFiles",
    "description_table",
    "experiment_table",
    "experiments_table",
    "metrics_table",
    "models_table",
    "options_table",
    "read_run_files",
    "recommendations_table",
    "run_summary",
    "trials_table",
    "write_report",
]
