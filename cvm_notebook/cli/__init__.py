"""The command ``cvm-notebook``: demo, cloud, report and doctor."""
