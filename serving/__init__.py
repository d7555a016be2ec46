"""
`c3 serve`: contexts and answers about them over HTTP, in the OpenAI form.

`app.py` has the addresses; `contexts.py` what is kept of texts and files; `prompts.py` makes a row of embeddings of a
request, and a backend (`backends.py`) answers it with tokens.
"""
