"""Random programs: the same operations on the backend and on the model, compared one by one."""
