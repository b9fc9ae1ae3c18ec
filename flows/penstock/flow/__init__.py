"""The only user of Prefect: the embedded API server, the compiler from plan to flow, and its tasks."""
