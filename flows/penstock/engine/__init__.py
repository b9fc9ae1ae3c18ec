"""The request engine: one per process, with limits, retries, packing and budget."""
