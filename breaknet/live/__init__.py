"""`breaknet play`: a page whose knobs train the network again while one watches.

settings.py   the knobs, their ranges, and the link that holds them
stories.py    settings that tell a story, each with a question
pictures.py   what is shown of one network
training.py   one run in pieces, so that its curves grow and it can be cancelled
session.py    one person's page: what is wanted, what is trained, what is kept
server.py     the page on this machine: one WebSocket a page; imports torch only once it answers
widget.py     the same in a notebook, and `breaknet.play`
page/         what the browser gets, the same for both
"""
