"""HTTP: the ASGI application, access control, and the page."""
