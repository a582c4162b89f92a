"""Ask before a call whether it may run, and keep the answer (§6.2, rulings F3 to F9).

`gate` is what capture calls; `decider` decides; `server` asks; `ladder` decides without the server;
`configuration` keeps what the server said of the integration; `estimates` bound what a call costs; `stops`
say whose calls a person has stopped.
"""
