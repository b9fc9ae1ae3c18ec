"""The OpenAI API over HTTP: the wire and the errors."""
