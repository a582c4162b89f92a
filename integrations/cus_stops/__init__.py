"""The kill switch: calls of an agent, a session, an end user or a model are refused at once."""
