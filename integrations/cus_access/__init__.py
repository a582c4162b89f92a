"""API tokens and sessions, as people see and end them: in the console and by the API."""
