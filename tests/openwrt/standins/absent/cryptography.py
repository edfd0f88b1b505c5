"""Not on a router: a node under netifd must not ask for it."""

raise ModuleNotFoundError("cryptography is not on a router", name="cryptography")
