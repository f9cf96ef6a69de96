"""HTTP: the ASGI application, who may ask what, and the page."""
