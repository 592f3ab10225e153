"""Operations: sent once, tracked to their end, and written to a ledger."""
