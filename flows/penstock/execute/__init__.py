"""One partition through one segment: where sources, steps, engine and tables meet. Knows nothing of Prefect."""
