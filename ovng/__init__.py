"""ovng: an application-layer tunnel for mobile life. `ARCHITECTURE.md` is the map."""

__version__ = "0.1.0"
