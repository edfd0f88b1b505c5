"""Not on a router: a node under netifd must not ask for it."""

raise ModuleNotFoundError("pyroute2 is not on a router", name="pyroute2")
