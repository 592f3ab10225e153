"""Rolling changes: what is done to the instances of an app one after the other, and undone."""
