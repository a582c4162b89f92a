"""How much of a budget can be used, and how many decisions need no request, by replaying a trace."""
