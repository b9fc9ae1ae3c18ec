"""The models of the sandbox: deterministic stand-ins that need no weights and no network."""
