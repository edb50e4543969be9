"""An application of the dashboard's: `apps` has what it is for."""
