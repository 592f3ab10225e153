"""The command ``cvm-notebook``: demo, cloud, run, report and doctor."""
