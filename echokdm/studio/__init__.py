"""A clip edited with the mouse, on a page that this machine alone serves to itself: `echokdm studio`."""
