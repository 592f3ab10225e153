"""The live fleet as its users have it: CVMs, selections, apps, reports, rules, widgets."""
