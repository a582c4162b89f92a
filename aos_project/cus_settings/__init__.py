"""Settings that the environment does not change, by subject; `aos_project.settings` imports them."""
