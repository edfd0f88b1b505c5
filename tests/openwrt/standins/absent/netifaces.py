"""Not on a router: a node under netifd must not ask for it."""

raise ModuleNotFoundError("netifaces is not on a router", name="netifaces")
