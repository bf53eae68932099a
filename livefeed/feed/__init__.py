"""The live feed itself: item, position, frames, log, listener, hub, stream. Knows nothing of HTML pages or accounts."""
