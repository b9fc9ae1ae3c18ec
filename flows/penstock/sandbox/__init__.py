"""The sandbox: an embedded server that speaks the OpenAI API over real HTTP, for rehearsals that cost nothing.

`launch.start` runs it in a process of its own, `server.serve` in this one, and `app.make_app` is the bare ASGI
application. A resource of the API is one file here, listed in `resources.RESOURCES`; all else is shared by all of them.
"""
