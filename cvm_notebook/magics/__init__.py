"""IPython's ``%cvm`` and ``%%cvm``."""
