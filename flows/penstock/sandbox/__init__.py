"""A local server that speaks the API over real HTTP, for rehearsals without a key or network."""
