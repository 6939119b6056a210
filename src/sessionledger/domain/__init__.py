"""The domain: values, archives, errors and the contract; no framework."""
