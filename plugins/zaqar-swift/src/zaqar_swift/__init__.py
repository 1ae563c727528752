"""Message queues in the objects of an OpenStack Swift: the backend behind ``swift://`` URIs."""
