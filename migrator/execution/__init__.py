"""Tasks and who carries them out: this process, worker processes, a Dask cluster."""
