"""What `streamstore watch` is made of, from the bottom up.

`facts`, `filters` and `timeline` are the model of what came, `past` goes back in it; `wrapping` and
`document` are the transcript; `inspector` feeds them together. `playing`, `tailing` (a log that is
still written) and `following` (a server) are where events come from. `drawing` says what is shown,
`screen` shows it, `app` finds out whether it can, `command` starts it. Only `screen` knows Textual,
only `following` the client.
"""
