"""Tasks and their executors: this process, worker processes of this machine, a Dask cluster."""
