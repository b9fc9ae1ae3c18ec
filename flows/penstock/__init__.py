"""Push a whole data set through an OpenAI-style API and be sure of every row and every cent."""

__version__ = "0.1.0"
