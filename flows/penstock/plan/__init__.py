"""What exactly a run will do, in which parts, at what price. No network, no Prefect."""
