"""The screen of `watch`. Every module of this package stands on textual and rich (extra `cli`).

From the bottom up: `strips`, of which `bar` and `pane` are; `transcript`, `events`, `detail` and
`help` are panes; `watch` puts them together, on a terminal that is `drawn`'s. They draw the lines
that are visible and no other; what those say is `drawing`'s.
"""
