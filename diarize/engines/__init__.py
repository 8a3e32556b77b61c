"""Where many recordings are done: in processes of this machine, or on the machines of a cluster."""
