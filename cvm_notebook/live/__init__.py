"""The live fleet: one store kept true by one thread, operations, plans; no pandas, no widgets."""
