"""Tables as datasets: the use of each column, and the targets that columns make."""
